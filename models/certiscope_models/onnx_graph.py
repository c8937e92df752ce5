"""Write a denoiser as ONNX with half-precision weights, and check that the file computes what PyTorch computes.

The graph takes x_k [B, C, H, W] float32 and, unless it is made for one timestep, k [B] int64. It gives eps_hat like
x_k and, from models that have them, defect_logit [B, 1, H, W] and feature_distance [B, 1, H, W]. Outputs are known by
their names. B is dynamic, H and W are fixed.
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
from .prediction import OUTPUTS, Prediction

OPSET = 17
TOLERANCE = 1e-4
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
    if hasattr(model, "keep"):
        model.keep(OUTPUTS)
    for module in list(model.modules()):
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, FlatGroupNorm(child))
    return model


class Present(nn.Module):
    """A model whose outputs are those that it gives: the exporter takes no None."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return tuple(self.model(*inputs).present().values())


def for_timestep(model, k):
    """`model` for the timestep k alone, where it has a method `at` that gives it; else as it is, for any timestep."""
    return model.at(k) if hasattr(model, "at") else model


def to_onnx(model, channels, height, width):
    """The ONNX graph of `model` (already rounded to fp16) as a ModelProto with fp16 initializers.

    A model that is made for one timestep, its attribute `k`, becomes a graph without the input k.
    """
    inputs = {"x_k": torch.rand(2, channels, height, width)}
    if getattr(model, "k", None) is None:
        inputs["k"] = torch.tensor([3, 40])
    with torch.no_grad():
        outputs = list(model(*inputs.values()).present())
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of constant shapes; here they are meant to be constant
        torch.onnx.export(
            Present(for_tracing(model)),
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
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


def takes_k(running):
    """Whether the graph takes any timestep; one that is made for a single timestep has no input `k`."""
    return any(taken.name == "k" for taken in running.get_inputs())


def predict(running, x_k, k):
    """The `Prediction`, of arrays, of a session for x_k [B, C, H, W] float32 and k [B] int64."""
    names = [name for name in OUTPUTS if name in {given.name for given in running.get_outputs()}]
    found = running.run(names, {"x_k": x_k, "k": k} if takes_k(running) else {"x_k": x_k})
    return Prediction(**dict(zip(names, found)))


def denoiser(running):
    """The `denoise` function of `score_numpy` for an ONNX Runtime session."""

    def denoise(x_k, k):
        return predict(running, x_k, np.full(len(x_k), k, np.int64))

    return denoise


def verify(content, model, channels, height, width, k=None):
    """Largest difference between the graph's bytes and `model` in any output; refuses one above TOLERANCE.

    `k` is the timestep that a graph without an input `k` is made for; other graphs are tried with several.
    """
    running = session(content)
    if not takes_k(running) and k is None:
        raise Refused("onnx: the graph has no input k: it is made for one timestep, which must be given")
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch in (1, 3, 8):
        x_k = torch.randn(batch, channels, height, width, generator=generator)
        of_draws = torch.randint(200, (batch,), generator=generator) if takes_k(running) else torch.full((batch,), k)
        with torch.no_grad():
            wanted = model(x_k, of_draws).present()
        found = predict(running, x_k.numpy(), of_draws.numpy()).present()
        if list(found) != list(wanted):
            raise Refused(f"onnx: outputs {', '.join(found)}: those of the model are {', '.join(wanted)}; export again")
        for name, got, right in ((name, found[name], wanted[name]) for name in found):
            # logits may be large: then the difference counts as a share of the largest
            scale = max(1.0, float(right.abs().max()) / 8.0)
            difference = float(np.abs(got - right.numpy()).max()) / scale
            if not difference <= TOLERANCE:  # also true of NaN
                raise Refused(
                    f"onnx: batch {batch}: {name} differs from PyTorch by {difference:.2e}; {TOLERANCE:.0e} is allowed"
                )
            worst = max(worst, difference)
    return worst
