"""Golden values of src/evaluation/.

AUROC, average precision and F1 over its thresholds come from scikit-learn, the stratified bootstrap over parts from
numpy. AU-PRO follows the definition of anomalib 2.7 (anomalib/metrics/aupro.py, compute_pro and compute), written out
in numpy and float64; scipy finds the regions, with the 8-connectivity of OpenCV's default.

    python tests/golden/make_evaluation.py     # writes evaluation.json beside this file; needs numpy, scipy, scikit-learn
"""

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

rng = np.random.default_rng(20261122)


def auroc(normal, anomalous):
    truth = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))]
    return float(roc_auc_score(truth, np.r_[normal, anomalous]))


def case(normal, anomalous):
    normal, anomalous = np.float32(normal), np.float32(anomalous)
    truth, scores = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))], np.r_[normal, anomalous]
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    best = np.flatnonzero(np.isclose(f1[:-1], f1[:-1].max(), rtol=0, atol=1e-12))[0]
    return {
        "normal": normal.tolist(),
        "anomalous": anomalous.tolist(),
        "auroc": auroc(normal, anomalous),
        "average_precision": float(average_precision_score(truth, scores)),
        "f1_max": float(f1[best]),
        "f1_threshold": float(thresholds[best]),
    }


def au_pro(maps, masks, limit=0.3):
    """anomalib's compute_pro and compute, line by line."""
    labels, count = [], 0
    for mask in masks:
        found, regions = label(mask, structure=np.ones((3, 3)))
        labels.append(np.where(found > 0, found + count, 0))
        count += regions
    labels, scores = np.concatenate([l.ravel() for l in labels]), np.concatenate([m.ravel() for m in maps])
    sizes = np.bincount(labels)
    change = np.where(labels > 0, 1.0 / sizes[labels], 0.0)
    order = np.argsort(-scores, kind="stable")
    fpr = np.cumsum(labels[order] == 0) / np.sum(labels == 0)
    pro = np.minimum(np.cumsum(change[order]) / count, 1.0)
    keep = np.r_[scores[order][:-1] != scores[order][1:], True]
    fpr, pro = np.r_[0.0, fpr[keep]], np.r_[0.0, pro[keep]]
    last = np.flatnonzero(fpr <= limit)[-1]
    if fpr[last] < limit and last + 1 < len(fpr):
        at_limit = pro[last] + (pro[last + 1] - pro[last]) * (limit - fpr[last]) / (fpr[last + 1] - fpr[last])
        fpr, pro = np.r_[fpr[: last + 1], limit], np.r_[pro[: last + 1], at_limit]
    else:
        fpr, pro = fpr[: last + 1], pro[: last + 1]
    return float(np.trapezoid(pro, fpr) / fpr[-1])


def pixel_case(rng, side, pictures, levels):
    """Maps that are higher inside of blobs and of touching corners, and their masks. `levels` makes ties."""
    maps, masks = [], []
    for picture in range(pictures):
        mask = np.zeros((side, side), bool)
        for _ in range(picture % 3):
            y, x, size = rng.integers(0, side - 4, 2).tolist() + [int(rng.integers(1, 5))]
            mask[y : y + size, x : x + size] = True
            mask[min(y + size, side - 1), min(x + size, side - 1)] = True
        score = rng.normal(size=(side, side)) + 1.2 * mask
        maps.append(np.float32(np.round(score * levels) / levels if levels else score))
        masks.append(mask)
    truth, scores = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    return {
        "side": side,
        "maps": [m.ravel().tolist() for m in maps],
        "masks": [m.ravel().astype(int).tolist() for m in masks],
        "auroc": float(roc_auc_score(truth, scores)),
        "au_pro": au_pro(maps, masks),
    }


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
pixel_rng = np.random.default_rng(20261123)
pixel = [pixel_case(pixel_rng, 12, 6, None), pixel_case(pixel_rng, 12, 6, 3), pixel_case(pixel_rng, 12, 3, 1)]
out = Path(__file__).with_name("evaluation.json")
out.write_text(json.dumps({"auroc": cases, "bootstrap": bootstrap, "pixel": pixel}, separators=(",", ":")).replace("},{", "},\n{") + "\n")
print(out, bootstrap["auroc"], bootstrap["interval"])
