"""Golden values of the bounds in src/smoothing, computed independently of that code.

scipy's distributions, numerical integration and root finding are used instead of log-gammas, tail sums and bisection.

    python tests/golden/make_bounds.py     # writes bounds.json beside this file; needs scipy
"""

import json
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, logsumexp
from scipy.stats import beta, binom, norm

PRIORS = {
    "even": [[0.3, 500, 1], [0.3, 1, 500], [0.1, 50, 1], [0.1, 1, 50], [0.2, 0.5, 0.5]],
    "leaning": [[0.6, 500, 1], [0.2, 50, 1], [0.2, 0.5, 0.5]],
    "kt": [[1.0, 0.5, 0.5]],
}


def upper_rank(n, reach, error):
    """Least k with P(Bin <= k - 1) >= 1 - error: scipy's quantile function of the binomial, plus one."""
    k = int(binom.ppf(1 - error, n, norm.cdf(reach))) + 1
    return k if k <= n else None


def fixed_reach(n, agreeing, error):
    """Clopper and Pearson's lower bound as a Beta quantile."""
    lower = beta.ppf(error, agreeing, n - agreeing + 1) if agreeing else 0.0
    return float(norm.ppf(lower)) if lower >= 0.5 else None


NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
EDGES = np.r_[np.arange(-120, -12, 6), np.linspace(-12, 12, 49), np.arange(18, 121, 6)].astype(float)


def ln_marginal_by_integral(prior, ones, zeros):
    """The mixture's marginal by Gauss-Legendre quadrature in logit space, piece by piece."""
    middle, half = (EDGES[1:] + EDGES[:-1]) / 2, np.diff(EDGES) / 2
    t = middle[:, None] + half[:, None] * NODES
    ln_p, ln_q = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    ln_weight = np.log(half[:, None] * WEIGHTS)
    terms = [np.log(w) - betaln(u, v) + (ones + u) * ln_p + (zeros + v) * ln_q + ln_weight for w, u, v in prior]
    return float(logsumexp(terms))


def sequential_reach(prior, agreeing, draws, alpha):
    """The root of ln M_n - ln(1/alpha) on the side where most draws are."""
    marginal = ln_marginal_by_integral(prior, agreeing, draws - agreeing)

    def spare(u):
        return marginal - agreeing * norm.logcdf(u) - (draws - agreeing) * norm.logcdf(-u) + np.log(alpha)

    top = 8.0 if agreeing == draws else float(norm.ppf(agreeing / draws))
    if top <= 0 or spare(0) < 0:
        return None
    return float(brentq(spare, 0, top, xtol=1e-14))


def draws_when_all_agree(prior, reach, alpha):
    n = np.arange(1, 100_001)
    ln_marginal = logsumexp([np.log(w) + betaln(u + n, v) - betaln(u, v) for w, u, v in prior], axis=0)
    return int(n[np.argmax(ln_marginal - n * norm.logcdf(reach) >= -np.log(alpha))])


gaussian = [{"radius_in_sigmas": float(u), "ln_cdf": float(norm.logcdf(u))} for u in np.arange(-6, 6.25, 0.25)]
ranks = [
    {"draws": n, "radius_in_sigmas": reach, "error": error, "rank": upper_rank(n, reach, error)}
    for n in (1, 5, 10, 32, 100, 333, 1000, 2000, 20000)
    for reach in (0.0, 0.5, 1.0, 1.44, 1.5, 2.3)
    for error in (0.05, 0.01, 0.001, 0.0005, 0.000005)
]
fixed = [
    {"draws": n, "agreeing": a, "error": error, "radius_in_sigmas": fixed_reach(n, a, error)}
    for n in (1, 10, 32, 100, 1000, 10000)
    for a in sorted({0, n // 2, (6 * n) // 10, (9 * n) // 10, n - 1, n})
    for error in (0.025, 0.0005)
]
marginals = [
    {"prior": prior, "ones": ones, "zeros": zeros, "ln_marginal": ln_marginal_by_integral(prior, ones, zeros)}
    for prior in PRIORS.values()
    for ones, zeros in ((1, 0), (0, 12), (12, 1), (64, 0), (97, 3), (3, 200), (500, 500), (1500, 20))
]
sequential = [
    {"prior": prior, "draws": n, "agreeing": a, "alpha": alpha, "radius_in_sigmas": sequential_reach(prior, a, n, alpha)}
    for prior in (PRIORS["even"], PRIORS["kt"])
    for n in (10, 12, 64, 200, 1000)
    for a in sorted({n // 2, (3 * n) // 4, n - 2, n})
    for alpha in (0.05, 0.001, 1e-6)
]
agreement = [
    {"prior": prior, "radius_in_sigmas": reach, "alpha": alpha, "draws": draws_when_all_agree(prior, reach, alpha)}
    for prior in (PRIORS["even"], PRIORS["kt"])
    for reach in (0.0, 0.5, 1.0, 1.5, 2.5)
    for alpha in (0.05, 0.001, 1e-6)
]
spread = [
    {"frames": m, "false_alarms": f, "rank": j, "realised": [float(beta.ppf(p, m + 1 - j, j)) for p in (0.05, 0.95)]}
    for m, f, j in ((19, 0.05, 19), (20, 0.05, 20), (99, 0.05, 95), (99, 0.29, 71), (300, 0.01, 298), (1000, 0.1, 901))
]

out = Path(__file__).with_name("bounds.json")
out.write_text(
    json.dumps(
        {"gaussian": gaussian, "ranks": ranks, "fixed": fixed, "marginals": marginals, "sequential": sequential, "agreement": agreement, "spread": spread},
        indent=None,
        separators=(",", ":"),
    ).replace("},{", "},\n{")
    + "\n"
)
print(out)
