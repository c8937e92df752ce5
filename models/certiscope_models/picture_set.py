"""All the pictures that one command reads, as one set: are they of one kind?

A model learns from whatever it gets, and a threshold comes out of any numbers. So pictures that do not belong together
are refused before anything is made of them: other sizes, grey ones among coloured ones, 8 bits among 16, 12 bits that
were stored in 16 as they are, and files that cannot be read.
Guarantees: a refusal names the files, and what would be allowed. Nothing is left out: one unreadable file refuses all.
Leaves out: brightness. How good parts differ is for the person to know who took the pictures.
Costs: nothing beyond reading the pictures, which are read once.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from . import Refused
from .decode import read_picture
from .picture_files import NEEDED
from .preprocess import as_input, scaled

# The largest samples of 8, 10, 12 and 14 bits, which cameras store in 16 bits as they are; as in src/cli/full_scale.rs.
FULL_SCALES = (255, 1023, 4095, 16383)
TRAINED_ON = {"width": "px wide", "height": "px high", "channels": "channels", "bits": "bits"}
ALLOWED_FULL_SCALES = range(255, 65535 + 1)


@dataclass(frozen=True)
class Facts:
    """What is compared between the pictures of a set."""

    width: int
    height: int
    channels: int
    bits: int
    largest: int

    @classmethod
    def of(cls, samples):
        channels = 1 if samples.ndim == 2 else samples.shape[2]
        return cls(samples.shape[1], samples.shape[0], channels, 8 * samples.itemsize, int(samples.max()))


class PictureSet:
    """Reads pictures and remembers their kind. `require_one_kind` refuses the set if they differ.

    `full_scale` is the sample that means white in pictures of 16 bits; None for 65535. `mixed_sizes`: sizes may differ.
    `trained_on` is the `kind` of the set that a model was trained on; this one must be like it.
    """

    def __init__(self, full_scale=None, mixed_sizes=False, trained_on=None):
        if full_scale is not None and full_scale not in ALLOWED_FULL_SCALES:
            low, high = ALLOWED_FULL_SCALES.start, ALLOWED_FULL_SCALES.stop - 1
            raise Refused(f"full-scale = {full_scale}: not a largest sample of 16 bits; {low} to {high} is allowed")
        self.full_scale, self.mixed_sizes, self.trained_on = full_scale, mixed_sizes, trained_on or {}
        self.facts, self.unreadable = {}, {}
        self.coloured_input = False  # the model takes three channels

    def picture(self, file):
        """The picture [C, H, W] float32 in [0,1] of a file; None if it cannot be read."""
        try:
            samples = read_picture(file)
        except Refused as refusal:
            self.unreadable[file] = str(refusal)
            return None
        self.facts[file] = Facts.of(samples)
        return scaled(samples, self.full_scale)

    def inputs(self, files, channels, height, width):
        """Model inputs [N, channels, height, width] float32 of the files that can be read."""
        self.coloured_input |= channels == 3
        found = (self.picture(file) for file in files)
        inputs = [as_input(picture, channels, height, width) for picture in found if picture is not None]
        return np.stack(inputs) if inputs else np.zeros((0, channels, height, width), np.float32)

    def require_one_kind(self):
        """Refuse pictures that cannot be read or do not belong together."""
        self._require_readable()
        self._require_equal(lambda f: {1: "grey", 3: "coloured"}[f.channels], "not from one camera")
        grey = next((file for file, facts in self.facts.items() if facts.channels == 1), None)
        if grey and self.coloured_input:
            raise Refused(
                f"picture: {grey}: grey, and the model takes colour; coloured pictures or --channels 1 is needed"
            )
        self._require_equal(lambda f: f"of {f.bits} bits", "not from one camera setting")
        if not self.mixed_sizes:
            cure = "not from one camera setting; take the others out, or insist with --mixed-sizes"
            self._require_equal(lambda f: f"of {f.width}x{f.height}", cure)
        self._require_full_scale()
        self._require_like_training()

    def kind(self):
        """What all pictures have in common, for `trained_on` of a later set."""
        sizes = {(f.width, f.height) for f in self.facts.values()}
        facts = next(iter(self.facts.values()))
        width, height = sizes.pop() if len(sizes) == 1 else (None, None)
        return {"width": width, "height": height, "channels": facts.channels, "bits": facts.bits}

    def _require_readable(self):
        if len(self.unreadable) == 1:
            raise Refused(*self.unreadable.values())
        if self.unreadable:
            count = len(self.unreadable) + len(self.facts)
            listed = "; ".join(text.removeprefix("picture: ").rpartition("; ")[0] for text in self.unreadable.values())
            raise Refused(
                f"pictures: {len(self.unreadable)} of {count} cannot be read; {NEEDED} pictures are needed, "
                f"so replace these or take them out: {listed}"
            )

    def _require_equal(self, words, why):
        counts, first = Counter(), {}
        for file, facts in self.facts.items():
            counts[words(facts)] += 1
            first.setdefault(words(facts), file)
        if len(counts) > 1:
            listed = ", ".join(f"{count} {kind} ({first[kind]})" for kind, count in counts.most_common())
            raise Refused(f"pictures: {listed}: {why}")

    def _require_full_scale(self):
        deep = {file: facts.largest for file, facts in self.facts.items() if facts.bits == 16}
        if not deep:
            if self.full_scale is not None and self.facts:
                raise Refused(f"full-scale = {self.full_scale}: the pictures have 8 bits; leave it out")
            return
        file, largest = max(deep.items(), key=lambda item: item[1])
        if self.full_scale is None and largest <= FULL_SCALES[-1]:
            likely = next(scale for scale in FULL_SCALES if largest <= scale)
            raise Refused(
                f"pictures: {len(deep)} of 16 bits, and no sample is above {largest} ({file}): white is hardly 65535; "
                f"give --full-scale {likely}, or what the camera gives for white (65535 if they are only dark)"
            )
        if self.full_scale is not None and largest > self.full_scale:
            above = sum(value > self.full_scale for value in deep.values())
            raise Refused(
                f"full-scale = {self.full_scale}: {above} of {len(deep)} pictures have larger samples, up to {largest} "
                f"({file}); at least {largest} is needed"
            )

    def _require_like_training(self):
        for file, facts in self.facts.items():
            for name, words in TRAINED_ON.items():
                wanted, found = self.trained_on.get(name), getattr(facts, name)
                if wanted is None or found == wanted or (self.mixed_sizes and name in ("width", "height")):
                    continue
                raise Refused(f"picture: {file}: {found} {words}: the run was trained on {wanted} {words}")
