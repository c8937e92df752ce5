"""One training step recorded as a CUDA graph and replayed.

It saves time, because the thousand kernels of a small U-Net take longer to launch than to run.
Guarantees: a replay computes what the step computes, on the inputs given to that replay.
Leaves out: inputs of other shapes, and steps that read a Python number: a replay uses the number of the recording.
"""

import torch

WARM_UP_STEPS = 3  # libraries allocate in their first calls, which cannot be recorded


class RecordedStep:
    """`step` on tensors like `inputs`: recorded on the first call, replayed on every call."""

    def __init__(self, step, clear):
        self.step = step
        self.clear = clear  # frees the gradients before the recording, so that they lie in the graph's memory
        self.graph = None

    def record(self, inputs):
        self.inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self.step(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        self.clear()
        with torch.cuda.graph(self.graph):
            self.found = self.step(self.inputs)

    def __call__(self, inputs):
        if self.graph is None:
            self.record(inputs)
        torch._foreach_copy_(self.inputs, list(inputs))
        self.graph.replay()
        return self.found.clone()
