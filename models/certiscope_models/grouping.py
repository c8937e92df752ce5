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
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import Refused
from .picture_files import picture_files
from .picture_set import PictureSet
from .preprocess import load_input

SIDES = ("fit", "held-back")
LIMIT = 0.85
THUMBNAIL = 64
BLUR = 9  # px of the box blur that is subtracted, so that slow changes of brightness do not decide
NO_STRUCTURE = 3e-5  # norm below which fine structure is rounding


def fingerprint(path):
    """A unit vector [64*64] of the fine structure of one picture file: high-passed grey thumbnail, mean 0, norm 1."""
    return fine_structure(load_input(path, 1, THUMBNAIL, THUMBNAIL))


def fine_structure(thumbnail):
    """The fingerprint of a picture from its grey thumbnail [1, THUMBNAIL, THUMBNAIL].

    Pictures without structure all get the same constant vector. It correlates with no other, so they form one group.
    """
    thumbnail = thumbnail[0]
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


def split(source, out, held_back, seed, read=None):
    """Put the pictures of `source` into out/fit and out/held-back by group; write and return out/split.json.

    `held_back` is the wanted share of the pictures; whole groups are added as long as they fit in it. `read` is the set
    that reads the pictures. They are linked, or copied where the file system has no links, as on a USB stick.
    """
    if not 0.0 < held_back < 1.0:
        raise Refused(f"split.held_back = {held_back}: not a share; above 0 and below 1 is allowed")
    source, out, read = Path(source), Path(out), read or PictureSet()
    if (out / "split.json").exists():
        raise Refused(f"split.out = {out}: holds a split already; give a new folder")
    for side in SIDES:
        if os.path.lexists(out / side):
            raise Refused(f"split.out = {out}: holds {side}/ of a split that was not finished; give a new folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise Refused(f"split.out = {out}: within {source}, whose pictures are split; give a folder beside it")
    files = picture_files(source)
    found = read.inputs(tqdm(files, desc="reading", unit="picture"), 1, THUMBNAIL, THUMBNAIL)
    read.require_one_kind()
    groups = groups_of(np.stack([fine_structure(thumbnail) for thumbnail in found]))
    order = np.random.default_rng(seed).permutation(max(groups) + 1)
    sizes = np.bincount(groups)[order]
    behind = set(order[np.cumsum(sizes) <= held_back * len(files)].tolist())
    sides = {side: [] for side in SIDES}
    for file, group in zip(files, groups):
        sides["held-back" if group in behind else "fit"].append({"file": str(file.relative_to(source)), "group": group})
    if not all(sides.values()):
        raise Refused(f"split: {len(files)} pictures in {max(groups) + 1} groups: one side is empty; add pictures")
    new = not out.exists()
    try:
        linked = put(source, out, sides)
        record = {"limit": LIMIT, "seed": seed, "linked": linked, **sides}
        (out / "split.json").write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        for side in SIDES:
            shutil.rmtree(out / side, ignore_errors=True)
        if new:
            shutil.rmtree(out, ignore_errors=True)
        raise Refused(
            f"split.out = {out}: {error.filename}: cannot be written: {error.strerror}; a folder is needed that takes "
            "all pictures under their names"
        ) from None
    return record


def put(source, out, sides):
    """Put every picture into the folder of its side: as a link, or as a copy from the first link that fails."""
    linked = True
    for side, rows in sides.items():
        for row in rows:
            place, file = out / side / row["file"], (source / row["file"]).resolve()
            place.parent.mkdir(parents=True, exist_ok=True)
            if linked:
                try:
                    place.symlink_to(os.path.relpath(file, place.parent.resolve()))
                    continue
                except FileExistsError:
                    raise
                except OSError:
                    linked = False
            with open(file, "rb") as picture, open(place, "xb") as copy:  # x: of two names that differ only in
                shutil.copyfileobj(picture, copy)  # capitals such a file system keeps one
    return linked
