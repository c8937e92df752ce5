"""Find pictures of the same part and hold back whole groups of them.

One part photographed several times gives near-identical pictures. If some of them are trained on and others are held
back, every held-back figure is too good. Parts of one product look alike too, so likeness is judged within the set:
what all its pictures have in common (the mean and up to DIRECTIONS principal directions) is taken off first. Two
pictures show one part if what is left correlates above LIMIT, or if one is the other above EQUAL, up to light and a
small shift; also through a third picture. A group goes to one side as a whole.
Guarantees: no such pair is separated; the same folder and seed give the same split; a refused split writes nothing.
`src/near_duplicates.rs` has the same rule; tests/golden/parts.json holds both to the same groups.
Leaves out: a set whose pictures all show one part, under other noise: nothing in it tells it from many parts. Names do
(`--part-from`).
Costs: five products of all pairs: 600 pictures take a few seconds with decoding, and 4,096 numbers a picture.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import Refused
from .picture_files import picture_files
from .picture_set import PictureSet
from .preprocess import load_input

SIDES = ("fit", "held-back")
LIMIT = 0.66  # correlation of what is left of two pictures of one part
EQUAL = 0.98  # correlation of two whole pictures of one part, in any set, after a small shift
DIRECTIONS = 30  # principal directions that are taken off; at most one for five parts
CLEAR = 0.9  # correlation of two pictures less the mean that show one part in any set, for finding what is common
SPREADS = 6  # or: how many times the middle half of all pairs such a pair stands out, if it is above LIMIT too
FEW = 10  # fewer pictures do not show what they have in common
ALIKE = 0.85  # correlation of two pictures of so few that count as one part: rather too few parts than too many
ROUNDS = 30  # of the subspace iteration
BLOCK = 512  # rows of the table of all pairs that are held at a time
THUMBNAIL = 64
NOISE = 0.01  # strength of fine structure (of 1) that the camera's noise may have
PART_FROM_ALLOWED = "a regular expression whose first group is the part, such as '^(\\d+)_', or `folder` is allowed"
BLUR = 9  # px of the box blur that is subtracted, so that slow changes of brightness do not decide
NO_STRUCTURE = 3e-5  # norm below which fine structure is rounding


def fingerprint(path):
    """A unit vector [64*64] of the fine structure of one picture file; see `fine_structure`."""
    return fine_structure(load_input(path, 1, THUMBNAIL, THUMBNAIL))


def local_mean(picture):
    """The box mean [H, W] of a picture, mirrored at its edges."""
    padded = np.pad(picture, BLUR // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR)).mean(axis=(2, 3))


def fine_structure(thumbnail):
    """The fingerprint of a picture from its grey thumbnail [1, THUMBNAIL, THUMBNAIL].

    The thumbnail minus its local mean, divided by its local strength, so that the faint texture of a part counts as
    much as the edges that all parts share; mean 0, norm 1. Pictures without structure all get the same constant vector.
    """
    thumbnail = thumbnail[0].astype(np.float64)
    fine = thumbnail - local_mean(thumbnail)
    if np.linalg.norm(fine - fine.mean()) < NO_STRUCTURE:
        return np.full(THUMBNAIL * THUMBNAIL, 1.0 / THUMBNAIL)
    fine = (fine / (np.sqrt(local_mean(fine * fine)) + NOISE)).ravel()
    fine -= fine.mean()
    return fine / np.linalg.norm(fine)


def groups_of(fingerprints):
    """A group number for each row of `fingerprints` [N, D], in order of first appearance."""
    rows = np.asarray(fingerprints, np.float32)
    if len(rows) < FEW:
        return connected(len(rows), pairs_above(ALIKE, rows, [rows]))
    equal = pairs_above(EQUAL, rows, [rows, *shifts(rows)])
    # One picture a part, as far as that is clear already: else a part that was photographed often would look common.
    centred = rows - rows.mean(axis=0)
    stands_out = min(CLEAR, max(LIMIT, SPREADS * spread(centred)))
    clear = connected(len(rows), equal + pairs_above_cosine(stands_out, centred))
    firsts = rows[np.unique(clear, return_index=True)[1]]
    mean = firsts.mean(axis=0)
    common = principal_directions(firsts - mean, min(DIRECTIONS, len(firsts) // 5))
    rest = rows - mean
    rest -= (rest @ common) @ common.T
    return connected(len(rows), equal + pairs_above_cosine(LIMIT, rest))


def shifts(rows):
    """For each fingerprint two unit vectors that it moves along when its picture is shifted; each beside the other two.

    So the squares of the correlations with a fingerprint and with its two shifts add up.
    """
    square = rows.reshape(-1, THUMBNAIL, THUMBNAIL)
    beside, found = [rows], []
    for axis in (2, 1):
        moved = np.gradient(square, axis=axis).reshape(rows.shape)
        for other in beside:
            moved = moved - (moved * other).sum(axis=1, keepdims=True) * other
        beside.append(unit(moved))
        found.append(beside[-1])
    return found


def unit(rows):
    """Each row with norm 1; a row of nothing but rounding becomes 0."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 1e-4)


def pairs_above(limit, rows, bases):
    """The pairs (i, j), i != j, where row i lies in the span of row j of all `bases` by more than `limit`."""
    found = []
    for start in range(0, len(rows), BLOCK):
        near, *rest = (rows[start : start + BLOCK] @ base.T for base in bases)
        squares = np.sign(near) * near**2 + sum(other**2 for other in rest)  # the negative picture is no likeness
        found += [(start + i, j) for i, j in np.argwhere(squares > limit**2).tolist() if start + i != j]
    return found


def pairs_above_cosine(limit, rows):
    """The pairs of rows whose angle has a cosine above `limit`."""
    rows = unit(rows)
    return pairs_above(limit, rows, [rows])


def spread(rows):
    """How far the correlations of pairs lie apart: the width of their middle half, from at most BLOCK of the rows."""
    count = min(len(rows), BLOCK)
    chosen = unit(rows[[i * len(rows) // count for i in range(count)]])
    pairs = np.sort((chosen @ chosen.T)[np.triu_indices(count, 1)])
    return pairs[3 * len(pairs) // 4] - pairs[len(pairs) // 4]


def principal_directions(rows, count):
    """The first `count` principal directions [D, count] of centred rows, by subspace iteration."""
    if not count:
        return np.zeros((rows.shape[1], 0), rows.dtype)
    basis = np.linalg.qr(rows[[i * len(rows) // count for i in range(count)]].T)[0]
    for _ in range(ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    return basis


def connected(count, near):
    """The group of each of `count` pictures: those that pairs connect, numbered in order of first appearance."""
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in near:
        parent[root(i)] = root(j)
    roots = [root(i) for i in range(count)]
    number = {r: n for n, r in enumerate(dict.fromkeys(roots))}
    return [number[r] for r in roots]


def groups_by_name(names, part_from):
    """The group of each picture by its path below the folder: `folder`, or a regular expression with a group."""
    if part_from == "folder":
        parts = [name.rpartition("/")[0] for name in names]
        for name, part in zip(names, parts):
            if not part:
                raise Refused(f"part-from = folder: {name}: lies in no sub-folder; one sub-folder a part is needed")
    else:
        try:
            pattern = re.compile(part_from)
        except re.error as error:
            raise Refused(f"part-from = {part_from}: no regular expression: {error}; {PART_FROM_ALLOWED}") from None
        if pattern.groups == 0:
            raise Refused(f"part-from = {part_from}: has no group (...); {PART_FROM_ALLOWED}")
        parts = []
        for name in names:
            match = pattern.search(name)
            if match is None or match[1] is None:
                raise Refused(f"part-from = {part_from}: does not match {name}; every picture's path must match")
            parts.append(match[1])
    number = {part: n for n, part in enumerate(dict.fromkeys(parts))}
    return [number[part] for part in parts]


def split(source, out, held_back, seed, read=None, part_from=None):
    """Put the pictures of `source` into out/fit and out/held-back by group; write and return out/split.json.

    `held_back` is the wanted share of the pictures; whole groups are added as long as they fit in it. `read` is the set
    that reads the pictures. `part_from` finds the groups by name (`groups_by_name`) and not by
    look. Pictures are linked, or copied where the file system has no links, as on a USB stick.
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
    named = groups_by_name([file.relative_to(source).as_posix() for file in files], part_from) if part_from else None
    found = read.inputs(tqdm(files, desc="reading", unit="picture"), 1, THUMBNAIL, THUMBNAIL)
    read.require_one_kind()
    groups = named or groups_of(np.stack([fine_structure(thumbnail) for thumbnail in found]))
    order = np.random.default_rng(seed).permutation(max(groups) + 1)
    sizes = np.bincount(groups)[order]
    behind = set(order[np.cumsum(sizes) <= held_back * len(files)].tolist())
    sides = {side: [] for side in SIDES}
    for file, group in zip(files, groups):
        sides["held-back" if group in behind else "fit"].append({"file": str(file.relative_to(source)), "group": group})
    if not all(sides.values()):
        how = f"by --part-from {part_from}" if part_from else "near-identical pictures are one part"
        raise Refused(
            f"split: {len(files)} pictures of {max(groups) + 1} parts ({how}), the largest of {max(sizes)} "
            f"pictures: one side is empty at held-back {held_back}; add pictures of other parts, or, where names or "
            "sub-folders tell the part, say so with --part-from"
        )
    new = not out.exists()
    try:
        linked = put(source, out, sides)
        record = {
            "limit": None if part_from else LIMIT,
            "part_from": part_from,
            "seed": seed,
            "linked": linked,
            **sides,
        }
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
