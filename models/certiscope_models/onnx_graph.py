"""Write a denoiser as ONNX with half-precision weights, and check that the file computes what PyTorch computes.

The graph takes x_k [B, C, H, W] float32 and k [B] int64 and gives eps_hat like x_k and, from a model with a defect
head, defect_logit [B, 1, H, W]; B is dynamic, H and W are fixed.
Guarantees: at batch 1, 3 and 8 the file agrees with the model within TOLERANCE in ONNX Runtime, else `Refused`.
Weights are rounded to fp16 first, in the model itself, so that the PyTorch model has exactly the stored weights.
Arithmetic stays fp32: each weight passes one Cast, which ONNX Runtime computes once, when it loads the file.
GroupNorm is written as reshape and InstanceNormalization: the operator of opset 21 becomes more nodes, and is slower.
"""

import copy
import io
import warnings

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn
from torch.nn import functional as F

from . import Refused

OPSET = 17
TOLERANCE = 1e-4
OUTPUTS = ("eps_hat", "defect_logit")
SMALL = 16  # initializers with fewer values stay fp32: shapes and constants, which take no space


class FlatGroupNorm(nn.Module):
    """Computes what the given nn.GroupNorm computes, and becomes five ONNX nodes."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        column = (-1,) + (1,) * (x.dim() - 2)  # [C] -> [C, 1, ...], to broadcast over the places
        weight, bias = (w.detach().reshape(column) for w in (self.norm.weight, self.norm.bias))
        sizes = [int(n) for n in x.shape[1:]]  # ints: constants of the trace
        return GroupNormNodes.apply(x, weight, bias, self.norm.num_groups, self.norm.eps, *sizes)


class GroupNormNodes(torch.autograd.Function):
    """Group normalisation, and its ONNX nodes with every static shape known."""

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, *sizes):
        return F.group_norm(x, groups, weight.flatten(), bias.flatten(), eps)

    @staticmethod
    def symbolic(g, x, weight, bias, groups, eps, *sizes):
        def constant(values, dtype):
            return g.op("Constant", value_t=torch.tensor(values, dtype=dtype))

        ones, zeros = (constant([v] * groups, torch.float32) for v in (1.0, 0.0))
        flat = g.op("Reshape", x, constant([0, groups, -1], torch.int64))
        flat = g.op("InstanceNormalization", flat, ones, zeros, epsilon_f=eps)
        known = x.type().with_sizes([None, *sizes])
        back = g.op("Reshape", flat, constant([-1, *sizes], torch.int64)).setType(known)
        scaled = g.op("Mul", back, weight).setType(known)
        return g.op("Add", scaled, bias).setType(known)


def round_to_fp16(model):
    """Round every floating weight of `model` to the nearest fp16 value, in place; refuses weights fp16 cannot hold."""
    for name, weight in model.state_dict().items():
        if weight.is_floating_point():
            rounded = weight.half().to(weight.dtype)
            if not torch.isfinite(rounded).all():
                raise Refused(f"weights: {name}: not finite as fp16; weights within +-65504 are needed")
            weight.copy_(rounded)


def for_tracing(model):
    """A copy of `model` in a form that the exporter writes as few nodes."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, FlatGroupNorm(child))
    return model


def to_onnx(model, channels, height, width):
    """The ONNX graph of `model` (already rounded to fp16) as a ModelProto with fp16 initializers."""
    x_k = torch.rand(2, channels, height, width)
    k = torch.tensor([3, 40])
    with torch.no_grad():
        outputs = OUTPUTS[: len(model(x_k, k))]
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of constant shapes; here they are meant to be constant
        torch.onnx.export(
            for_tracing(model),
            (x_k, k),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["x_k", "k"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("x_k", "k", *outputs)},
        )
    graph = onnxslim.slim(onnx.load_from_string(file.getvalue()))  # folds the exporter's shape arithmetic
    store_as_fp16(graph)
    onnx.checker.check_model(graph)
    return graph


def store_as_fp16(model):
    """Replace each large fp32 initializer that fp16 holds exactly by an fp16 one and a Cast."""
    graph = model.graph
    casts, kept = [], []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 and values.size >= SMALL else None
        if half is None or not np.array_equal(half.astype(np.float32), values):
            kept.append(tensor)
            continue
        stored = f"{tensor.name}.fp16"
        kept.append(onnx.numpy_helper.from_array(half, stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)


def session(source, threads=0):
    """An ONNX Runtime CPU session for a graph's bytes or path; 0 threads = all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def denoiser(running):
    """The `denoise` function of `score_numpy` for an ONNX Runtime session."""

    def denoise(x_k, k):
        eps_hat, *defect_logit = running.run(None, {"x_k": x_k, "k": np.full(len(x_k), k, np.int64)})
        return eps_hat, defect_logit[0] if defect_logit else None

    return denoise


def verify(content, model, channels, height, width):
    """Largest difference between the graph's bytes and `model` in any output; refuses one above TOLERANCE."""
    running = session(content)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch in (1, 3, 8):
        x_k = torch.randn(batch, channels, height, width, generator=generator)
        k = torch.randint(200, (batch,), generator=generator)
        with torch.no_grad():
            wanted = model(x_k, k)
        found = running.run(None, {"x_k": x_k.numpy(), "k": k.numpy()})
        for name, got, right in zip(OUTPUTS, found, wanted, strict=False):
            # logits may be large: then the difference counts as a share of the largest
            scale = max(1.0, float(right.abs().max()) / 8.0)
            difference = float(np.abs(got - right.numpy()).max()) / scale
            if not difference <= TOLERANCE:  # also true of NaN
                raise Refused(
                    f"onnx: batch {batch}: {name} differs from PyTorch by {difference:.2e}; {TOLERANCE:.0e} is allowed"
                )
            worst = max(worst, difference)
    return worst
