"""What the finished detector does: a station inspects good parts, and the same parts with synthetic defects.

Guarantees: the parts are those of the threshold, so the model was neither trained on them nor chosen with them.
Synthetic defects come from another seed than those of the search.
Verdicts, scores, heat maps and times are those of `certiscope inspect`.
Leaves out: real defects that were chosen with.
"""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..decode import read_picture
from ..preprocess import as_input, scaled
from ..search import LEAST_PIXELS
from ..synthetic import with_defects

SYNTHETIC = 40  # pictures with a synthetic defect
HIGHEST, USUAL = 4, 8  # good parts that are shown and timed: the highest scores, and others
REAL_EACH = 20  # real defects of a kind, at most
SEED = 20_26


def good_parts(scores, folder):
    """The threshold's pictures to inspect again, highest score first: some of the highest, and others spread evenly."""
    names = [part["picture"] for part in scores["parts"]]  # in descending order
    highest, rest = names[:HIGHEST], names[HIGHEST:]
    spread = [rest[n] for n in np.linspace(0, len(rest) - 1, min(USUAL, len(rest))).astype(int)] if rest else []
    return [folder / name for name in dict.fromkeys([*highest, *spread])]


def write_synthetic(files, shape, full_scale, out, count=SYNTHETIC):
    """Write `count` of the pictures with one synthetic defect each, at full size; returns the files.

    The defect is made at the size of the model input, and its change is enlarged. Colour pictures of 16 bits, which PNG
    files from here cannot be, give none.
    """
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(SEED)
    written, tries = [], 0
    while len(written) < count and tries < 4 * count:
        some = [files[(tries + n) % len(files)] for n in range(8)]
        tries += 8
        samples = [read_picture(file) for file in some]
        if any(one.dtype != np.uint8 and one.ndim == 3 for one in samples):
            return []
        pictures = [scaled(one, full_scale) for one in samples]
        inputs = torch.from_numpy(np.stack([as_input(picture, *shape) for picture in pictures]))
        changed, mask = with_defects(inputs, inputs.roll(3, 0), generator)
        for n, picture in enumerate(pictures):
            if mask[n].sum() < LEAST_PIXELS or len(written) == count:
                continue
            size = picture.shape[1:]
            change = F.interpolate((changed[n] - inputs[n])[None], size, mode="bilinear", align_corners=False)[0]
            seen = np.clip(picture + change.numpy(), 0.0, 1.0)
            white = 255 if samples[n].dtype == np.uint8 else full_scale or 65535
            content = np.round(seen * white).astype(samples[n].dtype)
            file = out / f"synthetic-{len(written):03d}.png"
            Image.fromarray(content[0] if len(content) == 1 else content.transpose(1, 2, 0)).save(file)
            written.append(file)
    return written
