"""The search for k, sigma and pooling of a training run before it is exported.

Guarantees: it sees normal pictures and synthetic defects only, never a real defect, so nothing that it chooses is tuned
to a test set.
Leaves out: the figures that count; those come from `certiscope evaluate`.
"""

from math import ceil

import torch

from .figures import auroc_with_interval, certified_auc, paper_radius
from .measure import scores, training_maps
from .synthetic import with_defects

LEAST_PIXELS = 8  # a synthetic defect with fewer visible pixels is not counted


def with_synthetic_defects(normal, generator):
    """Two synthetic defects for each picture, less those that cannot be seen."""
    twice = normal.repeat(2, 1, 1, 1)
    changed, mask = with_defects(twice, twice.roll(7, 0), generator)
    return changed[mask.sum(dim=(1, 2, 3)) >= LEAST_PIXELS]


def search(model, fit, held_back, levels, draws, seed=0):
    """Rows (detector, AUROC estimate, certified AUC, radius) of held-back normals against synthetic defects.

    `levels` is a list of lists: detectors of one k and sigma each, which differ in pooling. The best certified AUC
    comes first; where all are equal, as with too few draws for any certificate, the best AUROC.
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
