"""How long each stage takes on this machine, from a few measured steps, and how many steps fit in the budget.

Guarantees: the plan is made once and kept, so that a command that is typed again trains as many steps.
Leaves out: other work that begins on the machine later.
"""

import time
from dataclasses import dataclass

import torch

from ..efficientnet_lite0 import CHANNELS
from ..features import FeatureDistance
from ..training import Training
from . import bank

# seconds that the whole command should take; `best` ends earlier, at MOST_STEPS
SECONDS = {"quick": 25 * 60, "standard": 115 * 60, "best": 12 * 3600}
MOST_STEPS = {"quick": 4000, "standard": 12000, "best": 24000}  # beyond which our trainings gained nothing
ENOUGH_STEPS = {"quick": 500, "standard": 1500, "best": 5000}  # fewer: a smaller input is learned instead
LEAST_STEPS = 200
SEARCH_DRAWS = {"quick": 16, "standard": 32, "best": 64}
BATCH, BATCH_ON_GPU = 8, 32
LEARNING_RATE = {"quick": 8e-4, "standard": 6e-4, "best": 6e-4}
MEASURED_STEPS = 3
DRAWS_AT_ONCE = 8
DRAWS_UNTIL_SETTLED = 32  # of a part, about
MAP_DRAWS = 8


@dataclass(frozen=True)
class Speed:
    """Measured on this machine: seconds of one training step, and of one draw."""

    step: float
    draw: float


def measure(architecture, recipe, pictures, device):
    """The `Speed` of a training that is thrown away afterwards."""
    training = Training(architecture, recipe, device)
    batches = pictures.batches(recipe, training.generator)
    training.step(next(batches))  # the first allocates, and records on a GPU
    began = time.monotonic()
    for _ in range(MEASURED_STEPS):
        found = training.step(next(batches))
    found.sum().item()  # a GPU is asked to finish
    step = (time.monotonic() - began) / MEASURED_STEPS
    model, x = training.ema_model(), pictures.inputs[:1].repeat(DRAWS_AT_ONCE, 1, 1, 1)
    made = bank.unfilled(model, architecture)
    if made is not None:
        some = torch.zeros(bank.PATCHES, CHANNELS)
        made.distance_of = FeatureDistance(some, architecture.height, architecture.width)
        model = made.to(x.device)
    k = torch.full((DRAWS_AT_ONCE,), recipe.k_max // 2, device=x.device)
    with torch.no_grad():
        model(x, k)
        began = time.monotonic()
        model(x, k)[0].sum().item()
    return Speed(step, (time.monotonic() - began) / DRAWS_AT_ONCE)


def seconds_of_stages(speed, counts, draws, timesteps, search_draws, reported):
    """The expected seconds of all stages but the training. `counts` are pictures by side, and of real `defects`."""
    judged = 3 * counts["choose"] + counts["defects"]  # each good picture, and twice with a synthetic defect
    search = len(timesteps) * (search_draws * judged + MAP_DRAWS * min(counts["fit"], 2 * counts["maps"]) / 2)
    calibrated = draws * counts["threshold"] + MAP_DRAWS * counts["maps"]
    return {
        "choose": 5 + 1.2 * search * speed.draw,
        "export": 15 + 20 * counts["choose"] * speed.draw,
        "calibrate": 5 + 1.2 * calibrated * speed.draw,
        "report": 5 + 1.2 * reported * DRAWS_UNTIL_SETTLED * speed.draw,
        "page": 3,
    }


def steps_of(budget, speed, others, every, asked=None):
    """(steps, expected seconds of the training) that fit beside the `others`, the stages after it; `asked` replaces
    the steps."""
    per_step = speed.step * (1.0 + 5.0 / every)  # each checkpoint takes the held-back losses too
    left = SECONDS[budget] - sum(others.values())
    steps = asked or int(min(MOST_STEPS[budget], max(LEAST_STEPS, left / per_step)))
    return steps, steps * per_step
