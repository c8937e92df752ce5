"""The pictures of a training run: read and resized once, then dealt out in batches with synthetic defects.

Guarantees: everything random comes from the one generator given; no picture of a real defect is read.
Costs: all pictures are held in memory at the size of the model input.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from . import Refused
from .augment import as_seen
from .preprocess import load_inputs, picture_files
from .synthetic import with_defects

AT_ONCE = 1024  # pictures changed together on a GPU, where many small calls would wait for their launch


class Pictures:
    """Model inputs [N, C, H, W] in [0,1] in memory. `cache`: the .npy file that keeps them for a later reading."""

    def __init__(self, folder, architecture, cache=None, device="cpu"):
        self.files = picture_files(folder) if folder else None
        self.cache, self.cached = cache, cache is not None and cache.exists()
        if self.cached:
            inputs = np.load(cache)
        elif not folder:
            raise Refused(f"cache: {cache}: not there; give the folder of a training run")
        else:
            inputs = load_inputs(self.files, architecture.channels, architecture.size, architecture.size)
        if self.files and len(inputs) != len(self.files):
            raise Refused(f"cache: {cache}: {len(inputs)} pictures, the folder has {len(self.files)}; delete it")
        self.inputs = torch.from_numpy(inputs).to(device)

    def keep(self):
        """Write the cache, so that a resumed run need not read the pictures again."""
        if self.cache is not None and not self.cached:
            np.save(self.cache, self.inputs.cpu().numpy())
            self.cached = True

    def counts(self, folder):
        """How many pictures and groups of near-identical ones. Without a split.json each picture is a group."""
        split = Path(folder).parent / "split.json"
        groups = len(self.files)
        if split.exists():
            groups = len({row["group"] for row in json.loads(split.read_text())[Path(folder).name]})
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
