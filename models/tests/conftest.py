"""Shared by the tests: one thread (CI has two cores for everything) and tiny models."""

import pytest
import torch

from certiscope_models.unet import Architecture, build

torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """An architecture small enough to train and export within a test."""
    return Architecture(height=16, width=16, channels=1, unshuffle=2, base=8, multipliers=(1, 2))


@pytest.fixture
def tiny_model(tiny):
    torch.manual_seed(3)
    return build(tiny).eval()
