"""Train the U-Net on normal pictures: predicted noise and, on synthetic defects, the defect head.

Guarantees: a run resumed from its checkpoint ends with the weights of a run that never stopped (same --steps, same
machine, on a CPU), since weights, EMA, optimizer and the one random generator are all in the checkpoint. No picture of
a real defect is ever read. On a GPU the U-Net computes in bfloat16; everything else, and all of it on a CPU, in float32.
Leaves out: several devices, sampling whole pictures from noise.
Costs: printed by the progress bar. At 128x128, base 24, batch 8: about 4 s a step on one core; see the model cards.
"""

import csv
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from . import Refused
from .augment import Line, as_seen
from .objective import Weights, losses, x_k_of
from .preprocess import load_inputs, picture_files
from .synthetic import with_defects
from .unet import Architecture, build

WARM_UP = 200  # steps of rising learning rate
EMA_DECAY = 0.999
WEIGHT_DECAY = 0.01
SEEN = 96  # held-back pictures that the held-back losses are taken over
AT_ONCE = 1024  # pictures changed together on a GPU, where many small steps would wait for their launches


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its pictures; stored in every checkpoint."""

    steps: int
    batch: int = 12  # pictures a step; each passes as two noisy draws
    lr: float = 4e-4
    k_max: int = 100
    seed: int = 1
    defects: float = 0.6  # share of the pictures that get a synthetic defect
    line: Line = field(default_factory=Line)
    weights: Weights = field(default_factory=Weights)


class Pictures:
    """Model inputs [N, C, H, W] in [0,1] in memory, resized once and kept in `cache` (an .npy file)."""

    def __init__(self, folder, architecture, cache=None, device="cpu"):
        self.files = picture_files(folder) if folder else None
        if cache is not None and cache.exists():
            inputs = np.load(cache)
        else:
            inputs = load_inputs(self.files, architecture.channels, architecture.size, architecture.size)
            if cache is not None:
                np.save(cache, inputs)
        if self.files and len(inputs) != len(self.files):
            raise Refused(f"cache: {cache}: {len(inputs)} pictures, the folder has {len(self.files)}; delete it")
        self.inputs = torch.from_numpy(inputs).to(device)

    def counts(self, folder):
        """How many pictures and groups of near-identical ones; without a split.json each picture is a group."""
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
        """Batches without end. On a GPU many are made together, shuffled and dealt out."""
        on_gpu = generator.device.type == "cuda"
        together = max(1, AT_ONCE // recipe.batch) if on_gpu else 1
        while True:
            parts = self.batch(replace(recipe, batch=together * recipe.batch), generator)
            if on_gpu:
                order = torch.randperm(len(parts[0]), generator=generator, device=generator.device)
                parts = tuple(part[order] for part in parts)
            yield from zip(*(part.split(recipe.batch) for part in parts))


class Training:
    """One run: model, EMA weights, optimizer, generator and the number of steps done."""

    def __init__(self, architecture, recipe, device="cpu"):
        self.architecture, self.recipe, self.device = architecture, recipe, torch.device(device)
        torch.manual_seed(recipe.seed)
        self.on_gpu = self.device.type == "cuda"
        layout = torch.channels_last if self.on_gpu else torch.preserve_format
        self.model = build(architecture).to(self.device, memory_format=layout)
        self.ema = {name: w.detach().clone() for name, w in self.model.state_dict().items()}
        lr = torch.tensor(recipe.lr, device=self.device) if self.on_gpu else recipe.lr
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=self.on_gpu, capturable=self.on_gpu
        )
        self.captured = None  # the step as a CUDA graph
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.done = 0
        self.seconds = 0.0  # spent in steps, over all resumes
        self.begun = None  # command of the run whose weights this one began with
        self.counts, self.saved_at = {}, None  # provenance: pictures and groups, date of the checkpoint
        self.trained_on = torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"

    def learning_rate(self):
        progress = self.done / self.recipe.steps
        return self.recipe.lr * min(1.0, (self.done + 1) / WARM_UP) * 0.5 * (1.0 + cos(pi * progress))

    def noised(self, batch, generator):
        """The batch with timesteps [B] and noise [2, B, C, H, W] drawn for it."""
        normal = batch[0]
        k = torch.randint(self.recipe.k_max + 1, (len(normal),), generator=generator, device=self.device)
        return *batch, k, torch.randn((2, *normal.shape), generator=generator, device=self.device)

    def losses(self, model, noised):
        """The objective's terms by name."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu, cache_enabled=False):
            return losses(model, self.recipe.weights, *noised)

    def optimize(self, noised):
        """One step of the optimizer; returns the losses [terms], detached."""
        self.optimizer.zero_grad(set_to_none=True)
        found = self.losses(self.model, noised)
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.terms = tuple(found)
        return torch.stack([value.detach() for value in found.values()])

    def step(self, batch):
        """One step on a batch of pictures; returns its losses [terms], still on the device."""
        noised = self.noised(batch, self.generator)
        if self.on_gpu:
            self.optimizer.param_groups[0]["lr"].fill_(self.learning_rate())
            found = self.replayed(noised)
        else:
            self.optimizer.param_groups[0]["lr"] = self.learning_rate()
            found = self.optimize(noised)
        self.done += 1
        decay = min(EMA_DECAY, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.values()), list(self.model.state_dict().values()), 1.0 - decay)
        return found

    def replayed(self, noised):
        """`optimize` as a CUDA graph: a small U-Net's thousand kernels cost more to launch than to run."""
        if self.captured is None:
            inputs = [tensor.clone() for tensor in noised]
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # a graph may be captured only once libraries have settled
                for _ in range(3):
                    self.optimize(inputs)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                found = self.optimize(inputs)
            self.captured = graph, inputs, found
        graph, inputs, found = self.captured
        torch._foreach_copy_(inputs, list(noised))
        graph.replay()
        return found.clone()

    def ema_model(self):
        """A separate copy of the model that carries the averaged weights, ready to evaluate."""
        with torch.random.fork_rng(devices=[]):  # building draws weights: an evaluation must not change a run
            model = build(self.architecture)
        model.load_state_dict(self.ema)
        return model.eval().to(self.device)

    @torch.no_grad()
    def held_back_losses(self, pictures):
        """The losses of the EMA model over the same defects, timesteps and noises each time: comparable between steps."""
        generator = torch.Generator(self.device).manual_seed(0)
        model = self.ema_model()
        found = []
        for _ in range(max(1, SEEN // self.recipe.batch)):
            batch = pictures.batch(self.recipe, generator)
            found.append(torch.stack(list(self.losses(model, self.noised(batch, generator)).values())))
        return torch.stack(found).mean(dim=0).tolist()

    def save(self, path):
        """Write the checkpoint in one move, so that an interruption leaves the old one whole."""
        state = {
            "architecture": asdict(self.architecture),
            "recipe": asdict(self.recipe),
            "done": self.done,
            "seconds": self.seconds,
            "trained_on": self.trained_on,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "counts": self.counts,
            "begun": self.begun,
            "saved_at": datetime.now(UTC).date().isoformat(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    @classmethod
    def load(cls, path, device="cpu"):
        """The run saved at `path`. One begun on another kind of device goes on with fresh randomness."""
        if not Path(path).exists():
            raise Refused(f"checkpoint: {path}: not there; the folder of a training run")
        state = torch.load(path, weights_only=True, map_location="cpu")
        recipe = dict(state["recipe"])
        recipe |= {"line": Line(**recipe["line"]), "weights": Weights(**recipe["weights"])}
        training = cls(Architecture(**state["architecture"]), Recipe(**recipe), device)
        training.model.load_state_dict(state["model"])
        training.ema = {name: weight.to(training.device) for name, weight in state["ema"].items()}
        of_this_device = {name: training.optimizer.param_groups[0][name] for name in ("lr", "fused", "capturable")}
        state["optimizer"]["param_groups"][0].update(of_this_device)
        training.optimizer.load_state_dict(state["optimizer"])
        if len(state["generator"]) == len(training.generator.get_state()):
            training.generator.set_state(state["generator"])
        training.done, training.seconds = state["done"], state["seconds"]
        training.counts, training.saved_at = state["counts"], state["saved_at"]
        training.trained_on, training.begun = state["trained_on"], state.get("begun")
        return training

    @classmethod
    def begun_with(cls, path, recipe, device="cpu"):
        """A new run by `recipe` from the averaged weights of the run saved at `path`."""
        earlier = cls.load(path)
        training = cls(earlier.architecture, recipe, device)
        training.model.load_state_dict(earlier.ema)
        training.ema = {name: weight.to(training.device) for name, weight in earlier.ema.items()}
        training.begun = earlier.provenance(earlier.model)["command"]
        return training

    def provenance(self, model):
        """Where the weights of `model` came from, for a bundle's [provenance] table."""
        a, r = self.architecture, self.recipe
        words = {
            **{"size": a.size, "channels": a.channels, "unshuffle": a.unshuffle, "base": a.base},
            **{"multipliers": ",".join(map(str, a.multipliers)), "k-max": r.k_max, "steps": r.steps},
            **{"batch": r.batch, "lr": r.lr, "seed": r.seed, "defects": r.defects},
            **{name: value for name, value in asdict(r.line).items() if name != "flips"},
            **asdict(r.weights),
        }
        switches = {"--no-attention": not a.attention, "--no-head": not a.head, "--flips": r.line.flips}
        options = [f"--{name} {value}" for name, value in words.items()]
        options += [name for name, on in switches.items() if on]
        return {
            "command": " ".join(["python -m certiscope_models train", *options]),
            "seed": r.seed,
            "steps": self.done,
            "minutes": round(self.seconds / 60.0, 1),
            "trained_on": self.trained_on,
            **({"begun_with": self.begun} if self.begun else {}),
            **self.counts,
            "trained_at": self.saved_at,
            "architecture": a.describe(model),
        }


@torch.no_grad()
def sample_sheet(model, inputs, k, path):
    """A PNG whose rows are input | x_k | x0_hat | defect map (with a head), for a person to look at."""
    generator = torch.Generator(inputs.device).manual_seed(0)
    eps = torch.randn(inputs.shape, generator=generator, device=inputs.device)
    steps = torch.full((len(inputs),), k, device=inputs.device)
    x_k, signal, noise = x_k_of(inputs, steps, eps)
    out = model(x_k, steps)
    x0_hat = ((x_k - noise * out[0]) / signal + 1.0) / 2.0
    maps = [torch.sigmoid(defect_logit).expand_as(inputs) for defect_logit in out[1:]]
    columns = torch.stack([inputs, (x_k + 1.0) / 2.0, x0_hat, *maps], dim=1).clamp(0.0, 1.0)  # [N, 3 or 4, C, H, W]
    n, across, c, h, w = columns.shape
    sheet = columns.permute(0, 3, 1, 4, 2).reshape(n * h, across * w, c)
    pixels = (sheet * 255.0).round().to(torch.uint8).cpu().numpy()
    Image.fromarray(pixels[..., 0] if c == 1 else pixels).save(path)


def train(
    folder, held_back, run, architecture, recipe, resume=False, begin=None, stop_after=None, every=200, device="cpu"
):
    """Train into the folder `run`: checkpoint.pt, losses.csv, samples/. `stop_after` ends early, resumably.

    On resume the architecture comes from the checkpoint and --steps may be changed (which changes the cosine).
    `begin` is the folder of an earlier run whose averaged weights (and architecture) this one begins with.
    """
    run = Path(run)
    checkpoint = run / "checkpoint.pt"
    (run / "samples").mkdir(parents=True, exist_ok=True)
    if resume:
        training = Training.load(checkpoint, device)
        training.recipe = replace(training.recipe, steps=recipe.steps)
    elif checkpoint.exists():
        raise Refused(f"train.out = {run}: holds a checkpoint; --resume, or a new folder")
    elif begin:
        training = Training.begun_with(Path(begin) / "checkpoint.pt", recipe, device)
    else:
        training = Training(architecture, recipe, device)
    pictures = Pictures(folder, training.architecture, run / "fit.npy", device)
    training.counts = pictures.counts(folder)
    outside = Pictures(held_back, training.architecture, run / "held-back.npy", device) if held_back else pictures
    last = min(training.recipe.steps, stop_after or training.recipe.steps)

    with open(run / "losses.csv", "a", newline="") as log:
        rows = csv.writer(log)
        recent, began = [], time.monotonic()
        batches = pictures.batches(training.recipe, training.generator)
        bar = tqdm(range(training.done, last), initial=training.done, total=last, desc="training", unit="step")
        for _ in bar:
            recent.append(training.step(next(batches)))
            if training.done % every and training.done != last:
                continue
            mean = torch.stack(recent).mean(dim=0).tolist()
            recent.clear()
            training.seconds += time.monotonic() - began
            behind = training.held_back_losses(outside)
            if log.tell() == 0:
                rows.writerow(["step", "lr", *training.terms, *(f"held_back_{name}" for name in training.terms)])
            values = [f"{value:.6f}" for value in (*mean, *behind)]
            rows.writerow([training.done, f"{training.learning_rate():.3e}", *values])
            log.flush()
            bar.set_postfix(loss=f"{mean[-1]:.4f}", held_back=f"{behind[-1]:.4f}")
            shown = outside.batch(replace(training.recipe, batch=8), torch.Generator(training.device).manual_seed(0))[1]
            sheet = run / "samples" / f"{training.done:06d}.png"
            sample_sheet(training.ema_model(), shown, training.recipe.k_max // 2, sheet)
            training.save(checkpoint)
            began = time.monotonic()
    return training
