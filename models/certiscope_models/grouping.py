"""Find pictures of the same part and hold back whole groups of them.

One part photographed several times gives near-identical pictures. If some of them are trained on and others are held
back, every held-back figure is too good. So two pictures whose fine structure correlates above LIMIT belong to one
group, also through a third picture, and a group goes to one side as a whole.
Guarantees: no pair above LIMIT is separated; the same folder and seed give the same split; a refused split writes
nothing.
Costs: one correlation of all pairs: 600 pictures take under 2 s with decoding, and N^2 floats of memory.
"""

import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import Refused
from .preprocess import load_input, picture_files

LIMIT = 0.85
THUMBNAIL = 64
BLUR = 9  # px of the box blur that is subtracted, so that slow changes of brightness do not decide
NO_STRUCTURE = 3e-5  # norm below which fine structure is rounding


def fingerprint(path):
    """A unit vector [64*64] of the fine structure of one picture: high-passed grey thumbnail, mean 0, norm 1.

    Pictures without structure all get the same constant vector. It correlates with no other, so they form one group.
    """
    thumbnail = load_input(path, 1, THUMBNAIL, THUMBNAIL)[0]
    padded = np.pad(thumbnail, BLUR // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR))
    fine = (thumbnail - windows.mean(axis=(2, 3))).ravel()
    fine -= fine.mean()
    norm = np.linalg.norm(fine)
    return fine / norm if norm >= NO_STRUCTURE else np.full(THUMBNAIL * THUMBNAIL, 1.0 / THUMBNAIL, fine.dtype)


def groups_of(fingerprints):
    """A group number for each row of `fingerprints` [N, D]: connected parts of `correlation > LIMIT` (union-find)."""
    parent = list(range(len(fingerprints)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    near = np.argwhere(np.triu(fingerprints @ fingerprints.T > LIMIT, 1))
    for i, j in near:
        parent[root(int(i))] = root(int(j))
    roots = [root(i) for i in range(len(parent))]
    number = {r: n for n, r in enumerate(dict.fromkeys(roots))}
    return [number[r] for r in roots]


def split(source, out, held_back, seed):
    """Link the pictures of `source` into out/fit and out/held-back by group; write and return out/split.json.

    `held_back` is the wanted share of the pictures; whole groups are added as long as they fit in it.
    """
    if not 0.0 < held_back < 1.0:
        raise Refused(f"split.held_back = {held_back}: not a share; above 0 and below 1 is allowed")
    out = Path(out)
    if (out / "split.json").exists():
        raise Refused(f"split.out = {out}: holds a split already; give a new folder")
    files = picture_files(source)
    groups = groups_of(np.stack([fingerprint(f) for f in tqdm(files, desc="reading", unit="picture")]))
    order = np.random.default_rng(seed).permutation(max(groups) + 1)
    sizes = np.bincount(groups)[order]
    behind = set(order[np.cumsum(sizes) <= held_back * len(files)].tolist())
    sides = {"fit": [], "held-back": []}
    for file, group in zip(files, groups):
        sides["held-back" if group in behind else "fit"].append({"file": str(file.relative_to(source)), "group": group})
    if not all(sides.values()):
        raise Refused(f"split: {len(files)} pictures in {max(groups) + 1} groups: one side is empty; add pictures")
    for side, rows in sides.items():
        for row in rows:
            link = out / side / row["file"]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath((Path(source) / row["file"]).resolve(), link.parent.resolve()))
    record = {"limit": LIMIT, "seed": seed, **sides}
    (out / "split.json").write_text(json.dumps(record, indent=1) + "\n")
    return record
