"""What `learn` chooses without a flag: input size, channels, network, noise, timesteps, and the detectors to try.

Each choice is one function, and the same pictures and budget give the same choice.
Leaves out: how good parts differ (`jitter`), and the numbers of steps and draws (`budget`).
"""

from itertools import product
from math import ceil, sqrt

import torch

from .. import Refused, bundle, schedule
from ..efficientnet_lite0 import NAMED
from ..features import WithFeatures
from ..figures import ALPHA, paper_radius
from ..provenance import provenance
from ..score import Detector
from ..unet import Architecture, multiple_of, sides

# The model input has about so many px squared: the largest that leaves time for enough steps.
SIDES = {"quick": (128, 96, 64), "standard": (128, 96), "best": (128,)}
SIDE_STEP, SIDE_LEAST = 16, 16  # three halvings after the pixel-unshuffle
# Draws that must all agree before a verdict is certified at the wanted radius. More draws allow a smaller noise, which
# hides less of a defect, and cost time for each part.
AGREEING_DRAWS = 160
FILTERS_PX, TOP_PIXELS = (5, 9), (1, 8, 32)
# Shares of the defect map and of the feature map to try. The defect map has learned the synthetic defects that the
# search judges by, and so looks better there than on real ones: where there is a feature map, every map has a share.
WEIGHTS = ((0.0, 0.0), (0.5, 0.0), (0.8, 0.0), (1.0, 0.0))
WEIGHTS_WITH_FEATURES = ((0.2, 0.6), (0.35, 0.35), (0.4, 0.4), (0.6, 0.2), (0.2, 0.4))
# Timesteps to try: multiples of the first that covers the noise. The least values are for a small noise, whose first
# timestep hardly repairs anything.
WIDER = ((1.0, 0), (1.4, 25), (2.0, 35))
K_MAX_SPARE = 1.2  # training sees a little more noise than any detector
DRAWS = 64  # of each frame in calibration


def architectures_of(width, height, channels, budget):
    """The networks for pictures of this size, the largest first; `plan` takes the first that this machine trains in
    the time there is."""
    largest = max(SIDE_LEAST, round(sqrt(width * height)) // SIDE_STEP * SIDE_STEP)
    sizes = dict.fromkeys(min(side, largest) for side in SIDES[budget])
    return [architecture_of(size, width / height, channels) for size in sizes]


def architecture_of(size, aspect, channels):
    """The network for a model input of about size * size px, `aspect` times as wide as high."""
    settings = {"base": 16, "multipliers": (1, 2)} if size < 64 else {"base": 32, "multipliers": (1, 2, 3, 4)}
    multiple = multiple_of(Architecture.unshuffle, settings["multipliers"])
    return Architecture(*sides(size, aspect, multiple), channels, **settings)


def input_shape(architecture):
    """(channels, height, width) of the model input."""
    return architecture.channels, architecture.height, architecture.width


def radius_of(asked, shape):
    """The radius that is wanted: the one that was asked for, or that of the paper, by its RMS."""
    values = shape[0] * shape[1] * shape[2]
    return asked if asked is not None else paper_radius(values)


def sigma_of(radius):
    """The certification noise at which AGREEING_DRAWS that all agree certify `radius`, with ALPHA / 2 a side."""
    agreeing = (ALPHA / 2) ** (1.0 / AGREEING_DRAWS)
    reach = float(torch.special.ndtri(torch.tensor(agreeing, dtype=torch.float64)))
    sigma = round(radius / reach, 4)
    most = float(schedule.sigma_k(150))
    if not 0.002 <= sigma <= most:
        least, highest = 0.002 * reach, most * reach
        raise Refused(f"learn.radius = {radius:.4f}: needs a noise of {sigma}; {least:.4f} to {highest:.4f} is allowed")
    return sigma


def timesteps_of(sigma):
    """The timesteps to try with this noise: each covers it."""
    first = schedule.first_k(sigma)
    return sorted({min(max(ceil(first * wider), least), schedule.STEPS - 1) for wider, least in WIDER})


def k_max_of(timesteps):
    """The largest timestep that is trained at."""
    return min(ceil(timesteps[-1] * K_MAX_SPARE) + 5, schedule.STEPS - 1)


def detectors(k, sigma, shape, features):
    """The detectors to try at one timestep: they differ in their pooling and in the shares of the maps.

    `features`: the model gives a map of feature distances.
    """
    pixels = shape[1] * shape[2]
    shares = WEIGHTS_WITH_FEATURES if features else WEIGHTS
    return [
        Detector(k, sigma, px, top_pixels=top, head_weight=head, feature_weight=feature)
        for (head, feature), px, top in product(shares, FILTERS_PX, [top for top in TOP_PIXELS if top * 8 <= pixels])
    ]


def subject_of(training, model, words):
    """What is exported: the averaged weights of a training as `model`, and where they came from."""
    table = {**words, **provenance(training, training.ema_model())}
    if isinstance(model, WithFeatures):
        table["features"] = NAMED
    return bundle.Subject(model.cpu(), *input_shape(training.architecture), table)
