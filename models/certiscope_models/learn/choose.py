"""The search for timestep, pooling and weights, on good parts that were not trained on.

Two things count equally: how often a defect scores above a good part (AUROC of the medians over draws), and how often
it does so whatever the draw (the low end of its draws above the high end of the good part's), which is what a
certificate needs. Synthetic defects count as one kind; real kinds, where there are any, count as much as that together.
Guarantees: no picture of a real defect that is reported on is chosen with. One timestep is kept when it is done, so a
search that was broken off goes on at the next one. The same pictures and seed give the same choice.
Leaves out: the threshold.
"""

import json
from dataclasses import asdict
from math import ceil

import torch

from ..figures import auroc, wins
from ..measure import scores, training_maps
from ..score import Detector
from ..search import with_synthetic_defects
from .work import write_whole

AT_ONCE = 4  # pictures between two movements of the bar
ENDS = 0.05  # share of the draws that may lie beyond either end


def search(model_at, fit, good, real, levels, draws, folder, progress, seed=1):
    """Rows of every detector in `levels` (lists of one timestep), the best first.

    `model_at(k)` is the model of a timestep. `good` are held-back pictures, `real` is {kind: pictures}.
    Each row has the detector, what it reached, and the
    medians of all scores by kind.
    """
    generator = torch.Generator(good.device).manual_seed(seed)
    kinds = {"good": good, "synthetic": with_synthetic_defects(good, generator), **real}
    whole = len(levels) * sum(len(x) for x in kinds.values())
    rows, done = [], 0
    for detectors in levels:
        kept = folder / f"k{detectors[0].k}.json"
        if not kept.exists():
            model = model_at(detectors[0].k)
            found = level(model, fit, kinds, detectors, draws, seed, lambda n, at=done: progress.at((at + n) / whole))
            write_whole(kept, json.dumps(found) + "\n")
        rows += json.loads(kept.read_text())
        done += sum(len(x) for x in kinds.values())
    return sorted(rows, key=lambda row: -row["reached"])


def level(model, fit, kinds, detectors, draws, seed, moved):
    """The rows of one timestep."""
    generator = torch.Generator(fit.device).manual_seed(seed)
    filters = sorted({detector.filter_px for detector in detectors})
    made = training_maps(model, fit[: ceil(len(fit) / 2)], detectors[0], filters, generator)
    found = {name: [[] for _ in detectors] for name in kinds}
    seen = 0
    for name, x in kinds.items():
        for some in x.split(AT_ONCE):
            for kept, one in zip(found[name], scores(model, some, detectors, made, draws, generator)):
                kept.append(one)
            seen += len(some)
            moved(seen)
    return [
        row(detector, {name: torch.cat(found[name][n]) for name in kinds if found[name][n]})
        for n, detector in enumerate(detectors)
    ]


def row(detector, by_kind):
    """What one detector reached on scores [N, draws] by kind."""
    good = by_kind["good"]
    reached = {name: figures(good, bad) for name, bad in by_kind.items() if name != "good"}
    synthetic = mean_of(reached.pop("synthetic"))
    value = (synthetic + sum(map(mean_of, reached.values())) / len(reached)) / 2 if reached else synthetic
    return {
        "detector": asdict(detector),
        "reached": value,
        "auroc": {name: figures(good, bad)[0] for name, bad in by_kind.items() if name != "good"},
        "apart": {name: figures(good, bad)[1] for name, bad in by_kind.items() if name != "good"},
        "medians": {
            name: [round(v, 4) for v in found.median(dim=1).values.tolist()] for name, found in by_kind.items()
        },
    }


def figures(good, bad):
    """(AUROC of the medians, share of pairs that are apart whatever the draw)."""
    medians = (torch.quantile(scores, 0.5, dim=1) for scores in (good, bad))
    high, low = torch.quantile(good, 1.0 - ENDS, dim=1), torch.quantile(bad, ENDS, dim=1)
    return auroc(*medians), float(wins(high, low)[0].mean())


def mean_of(pair):
    return (pair[0] + pair[1]) / 2.0


def detector_of(row):
    """The detector of a row, read back."""
    return Detector(**{**row["detector"], "scales": tuple(row["detector"]["scales"])})
