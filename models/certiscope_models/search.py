"""The search for k, sigma, weights and pooling of a model before it is exported.

Guarantees: it sees normal pictures and synthetic defects only, never a real defect, so nothing that it chooses is tuned
to a test set.
Leaves out: the figures that count; those come from `certiscope evaluate`.
"""

from itertools import product
from math import ceil

import torch

from . import schedule
from .figures import auroc_with_interval, certified_auc, paper_radius
from .measure import scores, training_maps
from .score import Detector
from .synthetic import with_defects

LEAST_PIXELS = 8  # a synthetic defect with fewer visible pixels is not counted
HEAD_SHARES = (0.0, 0.5, 0.8, 1.0)  # of the defect map, in what the feature map leaves of the score
FEATURE_WEIGHTS = (0.0, 0.3, 0.6, 1.0)
FILTERS_PX, TOP_PIXELS = (5, 9), (1, 32)


@torch.no_grad()
def weights(model, x, k):
    """Pairs (head_weight, feature_weight) to try of the maps that `model` gives for pictures like x [C, H, W]."""
    found = model(x[None], torch.full((1,), k, device=x.device))
    heads = HEAD_SHARES if found.defect_logit is not None else (0.0,)
    features = FEATURE_WEIGHTS if found.feature_distance is not None else (0.0,)
    # rounded, so that they can be typed; a sum that is rounded above 1 would be refused
    pairs = ((round(head * (1.0 - feature), 4), feature) for feature, head in product(features, heads))
    return sorted(set(pairs), key=lambda pair: (pair[1], pair[0]))


def detectors_to_try(model, x, k):
    """The detectors of timestep k that `search` compares: all weights that the model allows, filters and poolings."""
    return [
        Detector(k, float(schedule.sigma_k(k)), px, top_pixels=top, head_weight=head, feature_weight=feature)
        for (head, feature), px, top in product(weights(model, x, k), FILTERS_PX, TOP_PIXELS)
    ]


def with_synthetic_defects(normal, generator):
    """Two synthetic defects for each picture, less those that cannot be seen."""
    twice = normal.repeat(2, 1, 1, 1)
    changed, mask = with_defects(twice, twice.roll(7, 0), generator)
    return changed[mask.sum(dim=(1, 2, 3)) >= LEAST_PIXELS]


def search(model, fit, held_back, levels, draws, seed=0):
    """Rows (detector, AUROC estimate, certified AUC, radius) of held-back normals against synthetic defects.

    `levels` is a list of lists: detectors of one k and sigma each, which differ in weights and pooling. The best
    certified AUC comes first; where all are equal, as with too few draws for any certificate, the best AUROC.
    """
    generator = torch.Generator(held_back.device).manual_seed(seed)
    changed = with_synthetic_defects(held_back, generator)
    radius = paper_radius(held_back[0].numel())
    found = []
    for detectors in levels:
        filters = sorted({detector.filter_px for detector in detectors})
        made = training_maps(model, fit[: ceil(len(fit) / 2)], detectors[0], filters, generator)
        normal = scores(model, held_back, detectors, made, draws, generator)
        anomalous = scores(model, changed, detectors, made, draws, generator)
        for detector, good, bad in zip(detectors, normal, anomalous):
            certified = certified_auc(good, bad, radius / detector.sigma)
            found.append((detector, auroc_with_interval(good, bad), certified, radius))
    return sorted(found, key=lambda row: (-row[2], -row[1].value))
