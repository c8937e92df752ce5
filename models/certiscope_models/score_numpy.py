"""The score for numpy arrays: converts, calls `score`, converts back. It computes nothing itself.

Guarantees: the same numbers as `score`, without a gradient.
Arrays are float32 [..., C, H, W] in [0,1]. A `denoise` is any function (x_k [B, C, H, W] float32, k int) ->
`Prediction` of arrays, such as an ONNX Runtime session (`onnx_graph.denoiser`).
"""

import numpy as np
import torch

from . import score
from .prediction import Prediction
from .score import Detector

__all__ = ["Detector", "certified", "draw", "empirical", "reconstruct"]


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def pictures(array):
    return tensor(np.asarray(array, np.float32))


def model_of(denoise):
    """The function `denoise` over arrays as a model over tensors."""

    def model(x_k, k):
        return Prediction(**{name: tensor(out) for name, out in denoise(x_k.numpy(), int(k[0])).present().items()})

    return model


def draw(x, noise, sigma):
    """`score.draw`: the noisy draw x + sigma noise."""
    return score.draw(pictures(x), pictures(noise), sigma).numpy()


@torch.no_grad()
def reconstruct(denoise, z, inner_noise, detector):
    """`score.reconstruct`: (x0_hat, defect_logit or None, feature_distance or None) of the draws z."""
    found = score.reconstruct(model_of(denoise), pictures(z), pictures(inner_noise), detector)
    return tuple(None if out is None else out.numpy() for out in found)


@torch.no_grad()
def certified(denoise, z, inner_noise, detector, training_maps=None):
    """`score.certified`: the certified scores [B] of the draws z, float64."""
    maps = {name: tensor(array) for name, array in (training_maps or {}).items()}
    return score.certified(model_of(denoise), pictures(z), pictures(inner_noise), detector, maps).numpy()


@torch.no_grad()
def empirical(denoise, x, noise, inner_noise, detector, training_maps=None):
    """`score.empirical`: the empirical score of the clean picture x."""
    maps = {name: tensor(array) for name, array in (training_maps or {}).items()}
    arrays = [pictures(array) for array in (x, noise, inner_noise)]
    return float(score.empirical(model_of(denoise), *arrays, detector, maps))
