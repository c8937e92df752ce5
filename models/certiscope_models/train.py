"""The training loop: from a folder of normal pictures to a checkpoint, a log of losses and sample sheets.

Guarantees: a run resumed from its checkpoint equals one that never stopped (`training`); nothing is written before all
settings and pictures have been accepted; a checkpoint is replaced in one move.
Leaves out: sampling whole pictures from noise.
"""

import csv
import time
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from . import Refused
from .picture_set import PictureSet
from .sample_sheet import sample_sheet
from .training import Training
from .training_data import Pictures


def train(
    folder,
    held_back,
    run,
    architecture,
    recipe,
    resume=False,
    begin=None,
    stop_after=None,
    every=200,
    device="cpu",
    progress=tqdm,
    pasted=None,
):
    """Train into the folder `run`: checkpoint.pt, losses.csv, samples/. It stops at `stop_after` and can be resumed.

    A resumed run takes its architecture from the checkpoint; `steps` may change, and the cosine with it.
    `begin` is the folder of an earlier run: this one begins with its averaged weights and its architecture.
    `every` is the number of steps between two checkpoints. `progress` shows how far it is, as tqdm does.
    `pasted` are real defects that the training pictures get besides the synthetic ones.
    """
    run = Path(run)
    checkpoint = run / "checkpoint.pt"
    if resume:
        training = Training.load(checkpoint, device)
        if recipe.full_scale not in (None, training.recipe.full_scale):
            raise Refused(
                f"train.full-scale = {recipe.full_scale}: the run has {training.recipe.full_scale or 65535}; leave it "
                "out to continue, or give a new folder"
            )
        training.recipe = replace(training.recipe, steps=recipe.steps)
    elif checkpoint.exists():
        raise Refused(f"train.out = {run}: holds a checkpoint; give --resume or a new folder")
    elif begin:
        training = Training.begun_with(Path(begin) / "checkpoint.pt", recipe, device)
    else:
        training = Training(architecture, recipe, device)
    read = PictureSet(training.recipe.full_scale, training.recipe.mixed_sizes)
    pictures = Pictures(folder, training.architecture, run / "fit.npy", device, read)
    outside = Pictures(held_back, training.architecture, run / "held-back.npy", device, read) if held_back else pictures
    read.require_one_kind()
    pictures.pasted = pasted
    training.counts, training.pictures = pictures.counts(folder), read.kind()
    (run / "samples").mkdir(parents=True, exist_ok=True)
    for kept in (pictures, outside):
        kept.keep()
    last = min(training.recipe.steps, stop_after or training.recipe.steps)

    with open(run / "losses.csv", "a", newline="") as log:
        rows = csv.writer(log)
        recent, began = [], time.monotonic()
        batches = pictures.batches(training.recipe, training.generator)
        bar = progress(range(training.done, last), initial=training.done, total=last, desc="training", unit="step")
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
