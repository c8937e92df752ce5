"""The trained network with the map of feature distances (`features`), for one timestep after another.

Guarantees: the bank of a timestep is made once, from the parts that were trained on and from the seed, and kept in the
work folder, so that the search and the exported bundle have the same.
Leaves out: small inputs (`LEAST_PX`): the frozen features see too little in them, and the map is left out.
Costs: about a minute of a core for a bank.
"""

import os

import torch

from ..features import FeatureDistance, FrozenFeatures, WithFeatures

LEAST_PX = 64  # of the shorter side
SOURCE = "denoised"
MOST_PICTURES = 400  # that a bank is made from
PATCHES = 1500  # in it: 0.43 MiB. Each patch more costs time in every draw


def has_features(architecture):
    """Whether a detector with this input has the map of feature distances."""
    return min(architecture.height, architecture.width) >= LEAST_PX


def unfilled(model, architecture):
    """`model` with frozen features and an empty bank; None for a small input. Missing weights are refused."""
    if not has_features(architecture):
        return None
    frozen = FrozenFeatures(architecture.channels, architecture.height, architecture.width)
    return WithFeatures(model, frozen, SOURCE).eval()


def with_bank(model, architecture, normal, k, folder, seed):
    """The model of a detector at timestep k: `model` itself for a small input, else with its bank.

    `normal` are the inputs [N, C, H, W] that were trained on. `folder` keeps the bank.
    """
    made = unfilled(model, architecture)
    if made is None:
        return model
    kept = folder / f"bank-k{k}.pt"
    if kept.exists():
        bank = torch.load(kept, weights_only=True)
    else:
        generator = torch.Generator(normal.device).manual_seed(seed)
        spread = torch.linspace(0, len(normal) - 1, min(MOST_PICTURES, len(normal))).long().to(normal.device)
        bank = made.bank_of(normal[spread], k, generator, PATCHES)
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        torch.save(bank.cpu(), partial)
        os.replace(partial, kept)
    made.distance_of = FeatureDistance(bank.to(normal.device), *normal.shape[-2:])
    return made.to(normal.device)
