"""Train the denoiser on normal pictures: DDPM noise loss at the timesteps inspection uses (method.md, section 2).

Guarantees: a run resumed from its checkpoint ends with the weights of a run that never stopped (same --steps, same
machine), since weights, EMA, optimizer and the one random generator are all in the checkpoint.
Leaves out: several devices, mixed precision, sampling whole pictures from noise.
Costs: printed by the progress bar; about a second a step of 12 at 128x128, base 24, on one core.
"""

import csv
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from . import Refused, schedule
from .preprocess import load_inputs, picture_files
from .unet import Architecture, build

WARM_UP = 100  # steps of rising learning rate
EMA_DECAY = 0.998


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its pictures; stored in every checkpoint."""

    steps: int
    batch: int = 12
    lr: float = 4e-4
    k_max: int = 150
    seed: int = 1
    flips: bool = False
    exposure: float = 0.0  # largest change of gain, as a share
    shift: int = 0  # largest shift in pixels of the input


class Pictures:
    """Model inputs [N, C, H, W] in [0,1] in memory, resized once and kept in `cache` (an .npy file)."""

    def __init__(self, folder, architecture, cache=None):
        self.files = picture_files(folder)
        if cache is not None and cache.exists():
            inputs = np.load(cache)
        else:
            inputs = load_inputs(self.files, architecture.channels, architecture.size, architecture.size)
            if cache is not None:
                np.save(cache, inputs)
        if len(inputs) != len(self.files):
            raise Refused(f"cache: {cache}: {len(inputs)} pictures, the folder has {len(self.files)}; delete it")
        self.inputs = torch.from_numpy(inputs)

    def counts(self, folder):
        """How many pictures and groups of near-identical ones; without a split.json each picture is a group."""
        split = Path(folder).parent / "split.json"
        groups = len(self.files)
        if split.exists():
            groups = len({row["group"] for row in json.loads(split.read_text())[Path(folder).name]})
        return {"images": len(self.files), "groups": groups}

    def batch(self, recipe, generator):
        """A random batch [B, C, H, W], changed as the recipe's line would change it."""
        chosen = torch.randint(len(self.inputs), (recipe.batch,), generator=generator)
        x = self.inputs[chosen]
        if recipe.flips:
            for axis in (2, 3):
                flip = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
                x = torch.where(flip, x.flip(axis), x)
        if recipe.shift:
            s = recipe.shift
            wide = F.pad(x, (s, s, s, s), mode="reflect")
            offsets = torch.randint(2 * s + 1, (len(x), 2), generator=generator).tolist()
            height, width = x.shape[2:]
            x = torch.stack([w[:, i : i + height, j : j + width] for w, (i, j) in zip(wide, offsets)])
        if recipe.exposure:
            gain = 1.0 + recipe.exposure * (2.0 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1.0)
            x = (x * gain).clamp(0.0, 1.0)
        return x


def noise_scheduler():
    """diffusers' scheduler, refused if its signal levels are not the ones certificates are computed with."""
    scheduler = DDPMScheduler(
        num_train_timesteps=schedule.STEPS,
        beta_schedule="linear",
        beta_start=schedule.BETA_FIRST,
        beta_end=schedule.BETA_LAST,
    )
    ours = schedule.alpha_bar(np.arange(schedule.STEPS))
    if not np.allclose(scheduler.alphas_cumprod.numpy(), ours, rtol=2e-4, atol=1e-7):
        raise Refused("schedule: diffusers' linear schedule is not certiscope's; the pinned diffusers version")
    return scheduler


def noise_loss(model, scheduler, x, k, eps):
    """Mean squared error of the predicted noise for inputs x in [0,1], timesteps k [B] and noise eps like x."""
    x_k = scheduler.add_noise(2.0 * x - 1.0, eps, k)
    return F.mse_loss(model(x_k, k), eps)


class Training:
    """One run: model, EMA weights, optimizer, generator and the number of steps done."""

    def __init__(self, architecture, recipe):
        self.architecture, self.recipe = architecture, recipe
        torch.manual_seed(recipe.seed)
        self.model = build(architecture)
        self.ema = {name: w.detach().clone() for name, w in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.lr, weight_decay=1e-4)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.scheduler = noise_scheduler()
        self.done = 0
        self.counts, self.saved_at = {}, None  # provenance: pictures and groups, date of the checkpoint

    def learning_rate(self):
        progress = self.done / self.recipe.steps
        return self.recipe.lr * min(1.0, (self.done + 1) / WARM_UP) * 0.5 * (1.0 + cos(pi * progress))

    def step(self, pictures):
        """One optimizer step; returns its loss."""
        r = self.recipe
        x = pictures.batch(r, self.generator)
        k = torch.randint(r.k_max + 1, (len(x),), generator=self.generator)
        eps = torch.randn(x.shape, generator=self.generator)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate()
        loss = noise_loss(self.model, self.scheduler, x, k, eps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        decay = min(EMA_DECAY, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for name, weight in self.model.state_dict().items():
                self.ema[name].lerp_(weight, 1.0 - decay)
        return loss.item()

    def ema_model(self):
        """A separate copy of the model that carries the averaged weights, ready to evaluate."""
        model = build_quietly(self.architecture)
        model.load_state_dict(self.ema)
        return model.eval()

    def save(self, path):
        """Write the checkpoint in one move, so that an interruption leaves the old one whole."""
        state = {
            "architecture": asdict(self.architecture),
            "recipe": asdict(self.recipe),
            "done": self.done,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "counts": self.counts,
            "saved_at": datetime.now(UTC).date().isoformat(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    @classmethod
    def load(cls, path):
        if not Path(path).exists():
            raise Refused(f"checkpoint: {path}: not there; the folder of a training run")
        state = torch.load(path, weights_only=True)
        training = cls(Architecture(**state["architecture"]), Recipe(**state["recipe"]))
        training.model.load_state_dict(state["model"])
        training.ema = state["ema"]
        training.optimizer.load_state_dict(state["optimizer"])
        training.generator.set_state(state["generator"])
        training.done = state["done"]
        training.counts = state["counts"]
        training.saved_at = state["saved_at"]
        return training

    def provenance(self, model):
        """Where the weights of `model` came from, for a bundle's [provenance] table."""
        a, r = self.architecture, self.recipe
        words = {
            **{"size": a.size, "channels": a.channels, "unshuffle": a.unshuffle, "base": a.base},
            **{"multipliers": ",".join(map(str, a.multipliers)), "k-max": r.k_max, "steps": r.steps},
            **{"batch": r.batch, "lr": r.lr, "seed": r.seed, "exposure": r.exposure, "shift": r.shift},
        }
        switches = [name for name, on in (("--no-attention", not a.attention), ("--flips", r.flips)) if on]
        options = [f"--{name} {value}" for name, value in words.items()] + switches
        return {
            "command": " ".join(["python -m certiscope_models train", *options]),
            "seed": r.seed,
            "steps": self.done,
            **self.counts,
            "trained_at": self.saved_at,
            "architecture": a.describe(model),
        }


def build_quietly(architecture):
    """`build` without moving the global random state: an evaluation must not change a run."""
    with torch.random.fork_rng(devices=[]):
        return build(architecture)


@torch.no_grad()
def held_back_loss(model, scheduler, inputs, k_max):
    """Noise loss over `inputs` [N, C, H, W] at a fixed set of timesteps and noises: comparable between steps."""
    generator = torch.Generator().manual_seed(0)
    losses = []
    for x in inputs.split(16):
        k = torch.randint(k_max + 1, (len(x),), generator=generator)
        eps = torch.randn(x.shape, generator=generator)
        losses.append(noise_loss(model, scheduler, x, k, eps).item() * len(x))
    return sum(losses) / len(inputs)


@torch.no_grad()
def sample_sheet(model, scheduler, inputs, k, path):
    """A PNG whose rows are input | x_k | x0_hat, for a person to look at."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.full((len(inputs),), k)
    x_k = scheduler.add_noise(2.0 * inputs - 1.0, torch.randn(inputs.shape, generator=generator), steps)
    a = schedule.alpha_bar(k)
    x0_hat = ((x_k - (1.0 - a) ** 0.5 * model(x_k, steps)) / a**0.5 + 1.0) / 2.0
    columns = torch.stack([inputs, (x_k + 1.0) / 2.0, x0_hat], dim=1).clamp(0.0, 1.0)  # [N, 3, C, H, W]
    n, three, c, h, w = columns.shape
    sheet = columns.permute(0, 3, 1, 4, 2).reshape(n * h, three * w, c)
    pixels = (sheet * 255.0).round().to(torch.uint8).numpy()
    Image.fromarray(pixels[..., 0] if c == 1 else pixels).save(path)


def train(folder, held_back, run, architecture, recipe, resume=False, stop_after=None, every=200):
    """Train into the folder `run`: checkpoint.pt, losses.csv, samples/. `stop_after` ends early, resumably.

    On resume the architecture comes from the checkpoint and --steps may be changed (which changes the cosine).
    """
    run = Path(run)
    checkpoint = run / "checkpoint.pt"
    (run / "samples").mkdir(parents=True, exist_ok=True)
    if resume:
        training = Training.load(checkpoint)
        training.recipe = replace(training.recipe, steps=recipe.steps)
    elif checkpoint.exists():
        raise Refused(f"train.out = {run}: holds a checkpoint; --resume, or a new folder")
    else:
        training = Training(architecture, recipe)
    pictures = Pictures(folder, training.architecture, run / "fit.npy")
    training.counts = pictures.counts(folder)
    behind = Pictures(held_back, training.architecture, run / "held-back.npy").inputs[:64] if held_back else None
    last = min(training.recipe.steps, stop_after or training.recipe.steps)

    with open(run / "losses.csv", "a", newline="") as log:
        rows = csv.writer(log)
        if log.tell() == 0:
            rows.writerow(["step", "loss", "held_back_loss", "lr"])
        recent = []
        bar = tqdm(range(training.done, last), initial=training.done, total=last, desc="training", unit="step")
        for _ in bar:
            recent.append(training.step(pictures))
            bar.set_postfix(loss=f"{np.mean(recent[-50:]):.4f}")
            if training.done % every and training.done != last:
                continue
            model = training.ema_model()
            seen = behind if behind is not None else pictures.inputs[:64]
            outside = held_back_loss(model, training.scheduler, seen, training.recipe.k_max)
            rows.writerow(
                [training.done, f"{np.mean(recent):.6f}", f"{outside:.6f}", f"{training.learning_rate():.3e}"]
            )
            log.flush()
            recent.clear()
            sheet = run / "samples" / f"{training.done:06d}.png"
            sample_sheet(model, training.scheduler, seen[:6], training.recipe.k_max // 2, sheet)
            training.save(checkpoint)
    return training
