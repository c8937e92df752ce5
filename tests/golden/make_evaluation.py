"""Golden values of src/evaluation.rs: scikit-learn's AUROC, numpy's stratified bootstrap over parts.

    python tests/golden/make_evaluation.py     # writes evaluation.json beside this file; needs numpy, scikit-learn
"""

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(20261122)


def auroc(normal, anomalous):
    truth = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))]
    return float(roc_auc_score(truth, np.r_[normal, anomalous]))


def case(normal, anomalous):
    normal, anomalous = np.float32(normal), np.float32(anomalous)
    return {"normal": normal.tolist(), "anomalous": anomalous.tolist(), "auroc": auroc(normal, anomalous)}


def parts(count, pictures, mean):
    """Pictures of one part share most of their score, so that drawing pictures instead of parts would show."""
    return [np.float32(mean + rng.normal() + 0.2 * rng.normal(size=rng.integers(1, pictures + 1))) for _ in range(count)]


def interval(normal, anomalous, replicates):
    def draw(parts):
        return np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))])

    def share_of_pairs(normal, anomalous):  # the same AUROC by its definition, faster than the curve
        gap = anomalous[:, None] - normal
        return np.mean(gap > 0) + 0.5 * np.mean(gap == 0)

    values = [share_of_pairs(draw(normal), draw(anomalous)) for _ in range(replicates)]
    return [float(v) for v in np.quantile(values, [0.025, 0.975])]


cases = [
    case(rng.normal(size=40), rng.normal(1.0, 1.3, size=25)),
    case(rng.integers(0, 4, size=60), rng.integers(1, 6, size=33)),  # many ties
    case([1.0], [1.0]),
    case([0.5, 0.7], [0.1]),
]
normal, anomalous = parts(30, 6, 0.0), parts(20, 6, 1.2)
bootstrap = {
    "normal": [p.tolist() for p in normal],
    "anomalous": [p.tolist() for p in anomalous],
    "auroc": auroc(np.concatenate(normal), np.concatenate(anomalous)),
    "interval": interval(normal, anomalous, 20000),
}
out = Path(__file__).with_name("evaluation.json")
out.write_text(json.dumps({"auroc": cases, "bootstrap": bootstrap}, separators=(",", ":")).replace("},{", "},\n{") + "\n")
print(out, bootstrap["auroc"], bootstrap["interval"])
