"""How well scores tell good pictures from defective ones: AUROC, certified AUC, and intervals for both.

Guarantees: the certified AUC uses order statistics at a fixed number of draws and alpha / 2 a side, as
`certiscope evaluate` does; the ranks equal those of the Rust side (tests/golden/bounds.json).
Leaves out: near-duplicates in the intervals. Pictures are drawn one by one, so with several pictures of one part an
interval is too narrow; `certiscope evaluate` draws parts.
Scores are tensors on the CPU: [N] one number a picture, [N, n] one number a draw.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch

PAPER_RMS = 0.2 / sqrt(256 * 256 * 3)  # the paper's certified radius, per value of the input
ALPHA = 1e-3
REPLICATES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def phi(z):
    """The standard normal distribution function."""
    return float(torch.special.ndtr(torch.tensor(z, dtype=torch.float64)))


def upper_rank(n, q, error):
    """The least 1-based rank whose order statistic bounds the q-quantile from above, except with probability `error`.

    None if no rank of n draws does.
    """
    i = torch.arange(n + 1, dtype=torch.float64)
    q = torch.tensor(q, dtype=torch.float64)
    ways = torch.lgamma(i[-1] + 1.0) - torch.lgamma(i + 1.0) - torch.lgamma(n - i + 1.0)
    probability = torch.exp(ways + i * q.log() + (n - i) * torch.log1p(-q))  # of i draws below the quantile
    at_least = probability.flip(0).cumsum(0).flip(0)[1:]  # [rank - 1]: the rank's value is below the quantile
    good = torch.nonzero(at_least <= error)
    return int(good[0]) + 1 if len(good) else None


def wins(low, high):
    """For each of `high` [M] the share of `low` [N] below it, as (strictly below, below or equal)."""
    ascending = low.sort().values
    strict, loose = (torch.searchsorted(ascending, high.contiguous(), side=side) for side in ("left", "right"))
    return strict.double() / len(low), loose.double() / len(low)


def auroc(normal, anomalous):
    """The probability that an anomalous score exceeds a normal one; a tie counts half."""
    strict, loose = wins(normal, anomalous)
    return float((strict + loose).mean() / 2.0)


def bounds(scores, multiple, alpha=ALPHA):
    """Return (lower, upper) bounds [N] of the score of each picture under any change within the radius.

    A bound that n draws cannot give is None.

    `multiple` is the radius in units of sigma.
    """
    n = scores.shape[1]
    rank = upper_rank(n, phi(multiple), alpha / 2)
    if rank is None:
        return None
    ascending = scores.sort(dim=1).values
    return ascending[:, n - rank], ascending[:, rank - 1]


def has_bounds(draws, multiple, alpha=ALPHA):
    """Whether so many draws can bound a score at a radius of `multiple` sigma. If not, a certified AUC is 0 for want of
    draws, and says nothing of the detector."""
    return upper_rank(draws, phi(multiple), alpha / 2) is not None


def certified_auc(normal, anomalous, multiple, alpha=ALPHA):
    """The probability that the lower bound of an anomalous picture exceeds the upper bound of a normal one.

    `multiple` is the radius in units of sigma. A bound that does not exist never wins.
    """
    of_normal, of_anomalous = bounds(normal, multiple, alpha), bounds(anomalous, multiple, alpha)
    if of_normal is None or of_anomalous is None:
        return 0.0
    return float(wins(of_normal[1], of_anomalous[0])[0].mean())


def interval(figure, normal, anomalous, replicates=REPLICATES, seed=1):
    """The 95 % bootstrap interval of figure(normal, anomalous): pictures are drawn within each class."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(replicates):
        chosen = (torch.from_numpy(rng.choice(len(side), len(side))) for side in (normal, anomalous))
        found.append(figure(*(side[rows] for side, rows in zip((normal, anomalous), chosen))))
    return tuple(float(limit) for limit in np.percentile(found, [2.5, 97.5]))


def auroc_with_interval(normal, anomalous):
    """The AUROC of the medians over draws of normal [N, n] and anomalous [M, n] scores."""
    medians = tuple(torch.quantile(scores, 0.5, dim=1) for scores in (normal, anomalous))
    return Estimate(auroc(*medians), *interval(auroc, *medians))


def certified_auc_with_interval(normal, anomalous, multiple, alpha=ALPHA):
    """The certified AUC; its interval takes the bounds of each picture as they are."""
    of_normal, of_anomalous = bounds(normal, multiple, alpha), bounds(anomalous, multiple, alpha)
    if of_normal is None or of_anomalous is None:
        return Estimate(0.0, 0.0, 0.0)

    def share(upper, lower):
        return float(wins(upper, lower)[0].mean())

    value = share(of_normal[1], of_anomalous[0])
    return Estimate(value, *interval(share, of_normal[1], of_anomalous[0]))


def paper_radius(values):
    """The paper's certified radius for an input of `values` numbers."""
    return PAPER_RMS * sqrt(values)
