"""Are these pictures fit to learn from? Said before anything is trained.

Guarantees: every picture is read. Files that cannot be read or do not belong together are refused by `PictureSet`, all
by name. Masks and pictures of defects that fit nothing are refused by name. Pictures that are far from the others in
brightness, contrast, sharpness or looks are named; nothing is left out unless that was asked for.
Leaves out: whether a picture shows a good part. The page at the end shows those that score highest.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import Refused
from ..decode import read_picture
from ..picture_files import picture_files
from ..preprocess import as_input, scaled, to_channels

SIDE = 64  # px of the picture that looks are compared in
FAR = 8.0  # robust deviations from the median beyond which a picture is odd
COLOURED = 0.004  # mean difference between channels above which a picture has colour; 1 of 255
MASK = "_mask"
LISTED = 20


@dataclass(frozen=True)
class Measure:
    """One number of a picture: its name, what an odd one is called below and above, and its least deviation."""

    name: str
    below: str | None
    above: str | None
    least: float


# Deviations below `least` are sensor noise: a set that is equal to the last digit has no odd pictures.
MEASURES = (
    Measure("log mean", "darker", "brighter", 0.03),
    Measure("log contrast", "flatter", "richer in contrast", 0.03),
    Measure("log sharpness", "blurred", "sharper", 0.03),
    Measure("likeness", "unlike the others", None, 0.05),
)


@dataclass
class Seen:
    """What `look` found: files, one row of MEASURES each, and small grey pictures [N, SIDE, SIDE]."""

    files: list
    measures: np.ndarray
    small: np.ndarray
    coloured: bool


def look(files, read, steps=iter):
    """Read every picture into the set `read`; refuses what does not belong together."""
    rows, small, kept, colour = [], [], [], 0.0
    for file in steps(files):
        picture = read.picture(file)
        if picture is None:
            continue
        grey = to_channels(picture, 1)
        rows.append(measured(grey[0]))
        small.append(as_input(grey, 1, SIDE, SIDE)[0])
        kept.append(file)
        if len(picture) == 3:
            colour = max(colour, float(np.abs(picture - picture.mean(axis=0)).mean()))
    read.require_one_kind()
    small = np.stack(small)
    likeness = np.arctanh(np.clip(likeness_of(small), -0.999, 0.999))
    return Seen(kept, np.column_stack([np.array(rows), likeness]), small, colour > COLOURED)


def measured(grey):
    """(log mean, log contrast, log sharpness) of a grey picture [H, W] in [0,1]."""
    contrast = grey.std()
    edges = np.abs(np.diff(grey, n=2, axis=0)).mean() + np.abs(np.diff(grey, n=2, axis=1)).mean()
    return np.log(grey.mean() + 0.01), np.log(contrast + 0.005), np.log((edges + 1e-4) / (contrast + 0.005))


def likeness_of(small):
    """The correlation of each picture [N, H, W] with the median of all."""
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    middle = np.median(flat, axis=0)
    return flat @ middle / (np.linalg.norm(flat, axis=1) * np.linalg.norm(middle) + 1e-9)


def odd(seen):
    """{file: why} of the pictures that are far from the others."""
    found = {}
    for measure, values in zip(MEASURES, seen.measures.T):
        middle = np.median(values)
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), measure.least)
        for file, value in zip(seen.files, values):
            word = measure.below if value < middle else measure.above
            far = abs(value - middle) / spread
            if word and far > FAR:
                found.setdefault(file, []).append(f"{word} ({far:.0f} deviations)")
    return {file: ", ".join(words) for file, words in found.items()}


def masks_of(folder):
    """(pictures of defects, {picture: mask}) below `folder`; refuses masks that fit nothing.

    The mask of KIND/NAME.png is KIND/NAME_mask.png, or ground_truth/KIND/NAME_mask.png in `folder` or beside it.
    """
    folder = Path(folder)
    found = picture_files(folder)
    masks = {file for file in found if file.stem.endswith(MASK)}
    pictures = [file for file in found if file not in masks]
    for place in (folder / "ground_truth", folder.parent / "ground_truth"):
        if place.is_dir():
            inside = picture_files(place)
            masks |= {file for file in inside if place.parent == folder or (folder / file.parent.name).is_dir()}
    by_name = {}
    for file in masks:
        by_name.setdefault((file.parent.name, file.stem.removesuffix(MASK)), file)
    fitting = {file: by_name.pop((file.parent.name, file.stem), None) for file in pictures}
    if by_name:
        names = sorted(str(file) for file in by_name.values())
        raise Refused(
            f"learn.defects: {len(names)} masks fit no picture: {', '.join(names[:LISTED])}; the mask of KIND/NAME.png "
            f"is called NAME{MASK}.png, beside it or in ground_truth/KIND"
        )
    return pictures, {file: mask for file, mask in fitting.items() if mask}


def refuse_masks(masks, read):
    """Refuse masks that cannot be read, are of another size than their picture, or show no defect."""
    wrong = []
    for file, mask in masks.items():
        try:
            samples = read_picture(mask)
        except Refused as refusal:
            wrong.append(str(refusal))
            continue
        facts = read.facts[file]
        size = samples.shape[1], samples.shape[0]
        if size != (facts.width, facts.height):
            wrong.append(f"{mask}: {size[0]}x{size[1]} px, its picture has {facts.width}x{facts.height}")
        elif scaled(samples).max() < 0.5:
            wrong.append(f"{mask}: nothing in it is white")
    if wrong:
        raise Refused(
            f"learn.defects: {len(wrong)} masks cannot be used: {'; '.join(wrong[:LISTED])}; a mask has the size of "
            "its picture, 255 where the defect is and 0 elsewhere; or take it out: masks are optional"
        )


def kinds_of(folder, pictures):
    """{kind of defect: its pictures}: the sub-folders of `folder`. Pictures in no sub-folder are of kind `defect`."""
    kinds = {}
    for file in pictures:
        inside = file.relative_to(folder).parts
        kinds.setdefault(inside[0] if len(inside) > 1 else "defect", []).append(file)
    if "good" in kinds:
        raise Refused(
            f"learn.defects = {folder}: holds a folder `good`; good parts are no defects: give a folder without it"
        )
    return kinds


def refuse_overlap(good, defects):
    """Refuse a picture that is both good and a defect. Both are {name: sha256}."""
    of = {digest: name for name, digest in good.items()}
    both = [f"{name} (good: {of[digest]})" for name, digest in sorted(defects.items()) if digest in of]
    if both:
        more = ", ..." if len(both) > LISTED else ""
        raise Refused(
            f"learn.defects: {len(both)} pictures are among the good ones too: {', '.join(both[:LISTED])}{more}; "
            "take each out of one of the folders"
        )
