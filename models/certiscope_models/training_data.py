"""The pictures of a training run: read and resized once, then dealt out in batches with synthetic defects.

Guarantees: everything random comes from the one generator given; no picture of a real defect is read.
Costs: all pictures are held in memory at the size of the model input.
"""

import json
import os
from contextlib import suppress
from dataclasses import astuple, replace
from math import ceil
from pathlib import Path
from statistics import median

import numpy as np
import torch

from . import Refused
from .augment import as_seen
from .decode import read_picture
from .picture_files import picture_files
from .picture_set import Facts, PictureSet
from .synthetic import with_defects

LOOKED_AT = 25  # pictures that the aspect ratio is taken from; in most sets all are alike
AT_ONCE = 1024  # pictures changed together on a GPU, where many small calls would wait for their launch


def source_of(folder, files, full_scale):
    """What the inputs of a folder depend on: the files with size and time of change, and the full scale."""
    rows = [[os.path.relpath(file, folder), *size_and_time(file)] for file in files]
    return {"full_scale": full_scale, "files": rows}


def size_and_time(file):
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def record_beside(cache):
    """What the pictures of a cache were read from; None for one that an earlier version wrote, or that broke off."""
    try:
        return json.loads(cache.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None


def aspect_of(folder):
    """The width of the folder's pictures over their height: the median of LOOKED_AT of them.

    Pictures that cannot be read are passed over, because `PictureSet` refuses them by name.
    """
    files = picture_files(folder)
    found = []
    for file in files[:: ceil(len(files) / LOOKED_AT)]:
        with suppress(Refused):
            height, width = read_picture(file).shape[:2]
            found.append(width / height)
    return median(found) if found else 1.0


class Pictures:
    """Model inputs [N, C, H, W] in [0,1] in memory.

    `into` is the set that they belong to; the caller lets it refuse pictures that are not of one kind. `cache` is the
    .npy file that keeps them for a later reading. Beside it stands what they were read from, so that a cache of other
    pictures, or of another full scale, is never taken for these.
    """

    def __init__(self, folder, architecture, cache=None, device="cpu", into=None):
        into = into or PictureSet()
        self.files = picture_files(folder) if folder else None
        self.cache, self.cached = cache, cache is not None and cache.exists()
        self.source = source_of(folder, self.files, into.full_scale) if folder else None
        record = record_beside(cache) if self.cached else None
        if self.files and record and len(record["files"]) != len(self.files):
            raise Refused(
                f"cache: {cache}: {len(record['files'])} pictures, the folder has {len(self.files)}; delete it"
            )
        if folder and self.cached and (record is None or any(record[key] != self.source[key] for key in self.source)):
            self.cached = False
        if self.cached:
            self.facts = [Facts(*row) for row in record["facts"]] if record else []
            if record and record["full_scale"] != into.full_scale:
                raise Refused(
                    f"cache: {cache}: read with full scale {record['full_scale']}, the run has {into.full_scale}; "
                    "delete it and resume the run"
                )
            into.facts |= dict(zip(self.files or [f"{cache} {n}" for n in range(len(self.facts))], self.facts))
            inputs = np.load(cache)
        elif not folder:
            raise Refused(f"cache: {cache}: not there; give the folder of a training run")
        else:
            inputs = into.inputs(self.files, architecture.channels, architecture.height, architecture.width)
            self.facts = [into.facts.get(file) for file in self.files]
        self.inputs = torch.from_numpy(inputs).to(device)
        self.pasted = None  # real defects (`learn.pasted`), where a line has some

    def keep(self):
        """Write the cache, so that a resumed run need not read the pictures again."""
        if self.cache is not None and not self.cached:
            beside = self.cache.with_suffix(".json")
            beside.unlink(missing_ok=True)  # first, so that it never stands beside other pictures
            partial = self.cache.with_suffix(".partial.npy")
            np.save(partial, self.inputs.cpu().numpy())
            os.replace(partial, self.cache)
            record = {**self.source, "facts": [astuple(facts) for facts in self.facts]}
            beside.write_text(json.dumps(record) + "\n")
            self.cached = True

    def counts(self, folder):
        """How many pictures and groups of near-identical ones. Without a split.json each picture is a group."""
        split = Path(folder).parent / "split.json"
        groups = len(self.files)
        if split.exists():
            try:
                rows = json.loads(split.read_text()).get(Path(folder).name)
                groups = groups if rows is None else len({row["group"] for row in rows})
            except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
                raise Refused(f"split: {split}: cannot be read: {error}; what `split` wrote is needed") from None
        return {"images": len(self.files), "groups": groups}

    def batch(self, recipe, generator):
        """(normal, changed, mask) of random pictures as the line shows them; the first share has synthetic defects."""
        count = recipe.batch
        chosen = torch.randint(len(self.inputs), (count + 1,), generator=generator, device=generator.device)
        seen = as_seen(self.inputs[chosen], recipe.line, generator)
        normal, others = seen[:count], seen[1:]
        changed, mask = normal.clone(), torch.zeros_like(normal[:, :1])
        defective = round(recipe.defects * count)
        if defective:
            changed[:defective], mask[:defective] = with_defects(normal[:defective], others[:defective], generator)
        if self.pasted:
            self.pasted.into(normal, changed, mask, defective, generator)
        return normal, changed, mask

    def batches(self, recipe, generator):
        """Yield batches without end. On a GPU many are made at once, shuffled, and yielded one by one."""
        on_gpu = generator.device.type == "cuda"
        together = max(1, AT_ONCE // recipe.batch) if on_gpu else 1
        while True:
            parts = self.batch(replace(recipe, batch=together * recipe.batch), generator)
            if on_gpu:
                order = torch.randperm(len(parts[0]), generator=generator, device=generator.device)
                parts = tuple(part[order] for part in parts)
            yield from zip(*(part.split(recipe.batch) for part in parts))
