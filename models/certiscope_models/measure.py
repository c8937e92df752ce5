"""How well a training run detects, before it is exported: the search for k, sigma and pooling, and the ablation table.

The scores are those of score.py, in torch and in batches so that a GPU can be used (tests hold the two together).
Guarantees: `search` sees normal pictures and synthetic defects only, never a real defect, so nothing it chooses is
tuned to a test set. Certified AUC uses order statistics at a fixed number of draws, alpha/2 a side, as the agent does.
Leaves out: grouping of near-duplicates in the intervals; the figures that count come from `certiscope evaluate`.
"""

from dataclasses import dataclass
from math import ceil, erf, exp, lgamma, log, sqrt

import numpy as np
import torch
from torch.nn import functional as F

from .objective import x_k_of
from .schedule import alpha_bar
from .synthetic import with_defects

PAPER_RMS = 0.2 / sqrt(256 * 256 * 3)  # the paper's certified radius, per input value
MAP_DRAWS = 8
CHUNK = 256  # draws a model call


@dataclass(frozen=True)
class Pooling:
    """From the two maps of a draw to its score: `head_weight` of the defect map, the rest of the residual map."""

    head_weight: float = 1.0
    filter_px: int = 5
    top_pixels: int = 1
    normalised: bool = True  # by the training maps, per pixel


@dataclass(frozen=True)
class Level:
    """Timestep and certification noise."""

    k: int
    sigma: float


def phi(z):
    """Standard normal distribution function."""
    return 0.5 * (1.0 + erf(z / sqrt(2.0)))


def upper_rank(n, q, side):
    """The least 1-based rank whose order statistic bounds the q-quantile from above but for probability `side`; or None."""
    below = 0.0
    for u in range(1, n + 1):
        i = u - 1
        below += exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(q) + (n - i) * log(1.0 - q))
        if 1.0 - below <= side:
            return u
    return None


def residual_map(z, x0_hat):
    """Multiscale squared difference [B, H, W] of [B, C, H, W] at block sizes 1, 2, 4, 8, not filtered yet."""
    total = 0.0
    for f in (1, 2, 4, 8):
        squared = (F.avg_pool2d(z - x0_hat, f) ** 2).mean(dim=1, keepdim=True)
        total = total + squared.repeat_interleave(f, 2).repeat_interleave(f, 3)
    return total[:, 0] / 4.0


def mean_filter(maps, size):
    """Mean over the part of each size x size window that lies inside the map [B, H, W]."""
    return F.avg_pool2d(maps[:, None], size, 1, size // 2, count_include_pad=False)[:, 0] if size > 1 else maps


@torch.no_grad()
def draw_maps(model, x, level, generator):
    """(residual, defect or None) maps [B, H, W] of one fresh draw of each picture x [B, C, H, W]."""
    a = float(alpha_bar(level.k))
    z = x + level.sigma * torch.randn(x.shape, generator=generator, device=x.device)
    rest = sqrt(max(0.0, 1.0 - a - 4.0 * a * level.sigma**2))
    x_k = sqrt(a) * (2.0 * z - 1.0) + rest * torch.randn(x.shape, generator=generator, device=x.device)
    out = model(x_k, torch.full((len(x),), level.k, device=x.device))
    x0_hat = (((x_k - sqrt(1.0 - a) * out[0]) / sqrt(a) + 1.0) / 2.0).clamp(0.0, 1.0)
    return residual_map(z, x0_hat), out[1][:, 0] if len(out) == 2 else None


def training_maps(model, normal, level, filters, generator):
    """{filter_px: ((mean, std) of the residual, (mean, std) of the defect map)} over draws of normal pictures."""
    sums = {}
    for _ in range(MAP_DRAWS):
        for x in normal.split(CHUNK):
            for kind, maps in enumerate(draw_maps(model, x, level, generator)):
                for px in filters if maps is not None else ():
                    filtered = mean_filter(maps, px).double()
                    moments = torch.stack([filtered.sum(0), (filtered**2).sum(0)])
                    sums[px, kind] = sums.get((px, kind), 0.0) + moments
    count = MAP_DRAWS * len(normal)
    found = {}
    for key, (total, squares) in sums.items():
        mean = total / count
        std = ((squares / count - mean**2).clamp(min=0.0) * count / (count - 1)).sqrt()
        found[key] = mean.float(), torch.maximum(std, 0.2 * std.mean()).float()
    return found


def scores(model, x, level, poolings, maps, draws, generator):
    """{pooling: scores [N, draws]} of the pictures x [N, C, H, W], draw by draw."""
    at_once = max(1, CHUNK // draws)
    rows = {pooling: [] for pooling in poolings}
    for some in x.split(at_once):
        pair = draw_maps(model, some.repeat_interleave(draws, 0), level, generator)
        for pooling in poolings:
            rows[pooling].append(pooled(pair, pooling, maps).view(len(some), draws).cpu())
    return {pooling: torch.cat(parts).double().numpy() for pooling, parts in rows.items()}


def pooled(pair, pooling, maps):
    """Score [B] of the maps of B draws."""
    total = 0.0
    for kind, weight in enumerate((1.0 - pooling.head_weight, pooling.head_weight)):
        if weight == 0.0:
            continue
        values = mean_filter(pair[kind], pooling.filter_px)
        if pooling.normalised:
            mean, std = maps[pooling.filter_px, kind]
            values = (values - mean) / std
        total = total + weight * (values.abs() if kind == 0 and pooling.normalised else values)
    return total.flatten(1).topk(pooling.top_pixels, dim=1).values.mean(dim=1)


def auroc(normal, anomalous):
    """P(an anomalous score exceeds a normal one), ties half."""
    ascending = np.sort(normal)
    wins = np.searchsorted(ascending, anomalous, "left") + np.searchsorted(ascending, anomalous, "right")
    return float(wins.mean() / (2 * len(normal)))


def certified_auc(normal, anomalous, reach, alpha=1e-3):
    """P( L(anomalous) > U(normal) ) at r = reach * sigma; scores [N, n]. A bound that does not exist loses."""
    n = normal.shape[1]
    rank = upper_rank(n, phi(reach), alpha / 2)
    if rank is None:
        return 0.0
    upper = np.sort(normal, axis=1)[:, rank - 1]
    lower = np.sort(anomalous, axis=1)[:, n - rank]
    return float((np.searchsorted(np.sort(upper), lower, "left") / len(upper)).mean())


def interval(normal, anomalous, replicates=1000, seed=1):
    """95 % bootstrap interval of the AUROC, pictures drawn within each class."""
    rng = np.random.default_rng(seed)
    drawn = [auroc(rng.choice(normal, len(normal)), rng.choice(anomalous, len(anomalous))) for _ in range(replicates)]
    return tuple(np.percentile(drawn, [2.5, 97.5]))


def figures(normal, anomalous, sigma, values):
    """What a row of a table says of scores [N, n] of normal and [M, n] of anomalous pictures of `values` numbers."""
    medians = np.median(normal, axis=1), np.median(anomalous, axis=1)
    low, high = interval(*medians)
    radius = PAPER_RMS * sqrt(values)
    return {
        "single": auroc(normal[:, 0], anomalous[:, 0]),
        "auroc": auroc(*medians),
        "low": low,
        "high": high,
        "certified": certified_auc(normal, anomalous, radius / sigma),
        "radius": radius,
        "reach": radius / sigma,
    }


def search(training, fit, held_back, levels, poolings, draws, seed=0):
    """Rows of (level, pooling, figures), held-back normals against synthetic defects: the best certified AUC first, and
    the best AUROC where too few draws certify none."""
    model = training.ema_model()
    generator = torch.Generator(training.device).manual_seed(seed)
    twice = held_back.repeat(2, 1, 1, 1)
    changed, mask = with_defects(twice, twice.roll(7, 0), generator)
    changed = changed[mask.sum(dim=(1, 2, 3)) >= 8]
    found = []
    for level in levels:
        maps = training_maps(model, fit[: ceil(len(fit) / 2)], level, {p.filter_px for p in poolings}, generator)
        normal = scores(model, held_back, level, poolings, maps, draws, generator)
        anomalous = scores(model, changed, level, poolings, maps, draws, generator)
        for pooling in poolings:
            found.append((level, pooling, figures(normal[pooling], anomalous[pooling], level.sigma, held_back[0].numel())))
    return sorted(found, key=lambda row: (-row[2]["certified"], -row[2]["auroc"]))
