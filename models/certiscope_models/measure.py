"""The scores of many pictures, in batches, so that a GPU can be used.

Guarantees: every score is computed by `score`. No gradient is kept.
Costs: one model call for CHUNK draws.
"""

import torch

from .score import KINDS, Maps, draw, maps, mean_filter, pooled, require_maps

MAP_DRAWS = 8
CHUNK = 256  # draws a model call


@torch.no_grad()
def draw_maps(model, x, detector, generator):
    """The unfiltered `Maps` of one fresh draw of each picture x [B, C, H, W]."""
    noise, inner_noise = (torch.randn(x.shape, generator=generator, device=x.device) for _ in range(2))
    return maps(model, draw(x, noise, detector.sigma), inner_noise, detector)


def training_maps(model, normal, detector, filters, generator):
    """{filter_px: training maps} over draws of normal pictures: the mean and the deviation of every pixel."""
    sums = {}
    for _ in range(MAP_DRAWS):
        for x in normal.split(CHUNK):
            for kind, found in zip(KINDS, draw_maps(model, x, detector, generator)):
                for px in filters if found is not None else ():
                    smooth = mean_filter(found, px)
                    moments = torch.stack([smooth.sum(0), (smooth**2).sum(0)])
                    sums[px, kind] = sums.get((px, kind), 0.0) + moments
    count = MAP_DRAWS * len(normal)
    made = {px: {} for px in filters}
    for (px, kind), (total, squares) in sums.items():
        mean = total / count
        std = ((squares / count - mean**2).clamp(min=0.0) * count / (count - 1)).sqrt()
        made[px] |= {f"{kind}mean": mean, f"{kind}std": torch.maximum(std, 0.2 * std.mean())}
    return made


def scores(model, x, detectors, made, draws, generator):
    """[scores [N, draws] float64 on the CPU for each of `detectors`] of the pictures x [N, C, H, W].

    The detectors differ in their pooling only, so that all of them judge the same draws. `made` holds the training
    maps by filter_px; {} for none.
    """
    at_once = max(1, CHUNK // draws)
    rows = [[] for _ in detectors]
    for some in x.split(at_once):
        found = draw_maps(model, some.repeat_interleave(draws, 0), detectors[0], generator)
        smooth = {}  # by filter_px: many detectors share a filter
        for row, detector in zip(rows, detectors):
            require_maps(found.defect, found.feature, detector)
            px = detector.filter_px
            if px not in smooth:
                smooth[px] = Maps(*(None if one is None else mean_filter(one, px) for one in found))
            one = pooled(*smooth[px], detector, made.get(px, {}))
            row.append(one.view(len(some), draws).cpu())
    return [torch.cat(parts) for parts in rows]
