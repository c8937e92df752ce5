"""`python -m certiscope_models <command>`: split, train, search, export."""

import argparse
import json
import sys
from dataclasses import fields
from itertools import product
from pathlib import Path

import torch

from . import Refused, bundle, measure, schedule
from .augment import Line
from .foreign import from_diffusers, from_improved_diffusion
from .grouping import split
from .objective import Weights
from .score import Detector
from .train import Pictures, Recipe, Training, train
from .unet import Architecture


def numbers(text):
    return tuple(int(n) for n in text.split(","))


def parser():
    top = argparse.ArgumentParser(prog="certiscope_models", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    c = commands.add_parser("split", help="hold back whole groups of near-identical pictures")
    c.add_argument("--data", required=True, help="folder of normal pictures")
    c.add_argument("--out", required=True, help="new folder; gets fit/, held-back/ and split.json")
    c.add_argument("--held-back", type=float, default=0.3, help="share of the pictures (default 0.3)")
    c.add_argument("--seed", type=int, default=1)

    c = commands.add_parser("train", help="train a denoiser on a folder of normal pictures")
    c.add_argument("--data", required=True, help="folder of normal pictures, e.g. SPLIT/fit")
    c.add_argument("--held-back", help="folder for the held-back loss, e.g. SPLIT/held-back")
    c.add_argument("--out", required=True, help="folder of the run: checkpoint, losses.csv, samples/")
    c.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint with its settings; --steps may change"
    )
    c.add_argument("--begin-with", metavar="RUN", help="begin with the weights and the architecture of an earlier run")
    c.add_argument("--size", type=int, default=64, help="side of the square model input, px")
    c.add_argument("--channels", type=int, default=1, choices=(1, 3))
    c.add_argument("--unshuffle", type=int, default=2, help="pixel-unshuffle factor inside the graph")
    c.add_argument("--base", type=int, default=32, help="channels of the first level")
    c.add_argument("--multipliers", type=numbers, default=(1, 2, 3), help="width of each level over --base")
    c.add_argument("--no-attention", dest="attention", action="store_false")
    c.add_argument("--no-head", dest="head", action="store_false", help="predicted noise only, as in the paper")
    c.add_argument("--k-max", type=int, default=100, help="train at timesteps 0..k-max")
    c.add_argument("--steps", type=int, required=True, help="length of the run and of its cosine")
    c.add_argument("--stop-after", type=int, help="stop (resumably) at this step")
    c.add_argument("--batch", type=int, default=12)
    c.add_argument("--lr", type=float, default=4e-4)
    c.add_argument("--seed", type=int, default=1)
    c.add_argument("--defects", type=float, default=0.6, help="share of pictures that get a synthetic defect")
    c.add_argument("--flips", action="store_true", help="the product may be mirrored; off where its place is fixed")
    c.add_argument("--shift", type=int, default=0, help="shift jitter in px of the model input")
    c.add_argument("--turn", type=float, default=0.0, help="rotation jitter in degrees")
    c.add_argument("--zoom", type=float, default=0.0, help="size jitter, e.g. 0.05")
    c.add_argument("--crop", type=float, default=0.0, help="window jitter: share of the side left out, e.g. 0.15")
    c.add_argument("--exposure", type=float, default=0.0, help="gain, offset and gamma jitter, e.g. 0.1")
    c.add_argument("--light", type=float, default=0.0, help="jitter of the light from side to side, e.g. 0.2")
    for term in fields(Weights):
        c.add_argument(f"--{term.name}", type=float, default=term.default, help=f"weight of the {term.name} loss")
    c.add_argument("--device", default="cpu", help="cpu, or cuda where a GPU is")
    c.add_argument("--threads", type=int, default=2)

    c = commands.add_parser("search", help="find k, sigma and pooling on held-back pictures with synthetic defects")
    c.add_argument("--run", required=True, help="folder of a training run")
    c.add_argument("--held-back", required=True, help="folder of normal pictures the model was not trained on")
    c.add_argument("--k", type=numbers, default=(15, 25, 35, 50), help="timesteps to try, each with its own noise level")
    c.add_argument("--draws", type=int, default=64, help="draws a picture")
    c.add_argument("--device", default="cpu", help="cpu, or cuda where a GPU is")
    c.add_argument("--threads", type=int, default=2)

    c = commands.add_parser("export", help="write a bundle from a training run or from someone else's checkpoint")
    source = c.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="folder of a training run")
    source.add_argument("--diffusers", help="folder of a diffusers pipeline or UNet2DModel")
    source.add_argument("--improved-diffusion", help="OpenAI improved-diffusion checkpoint, .pt")
    c.add_argument("--improved-config", help="JSON file: the flags the checkpoint was trained with")
    c.add_argument("--schedule-is-linear", action="store_true", help="vouch for a bare diffusers U-Net's schedule")
    c.add_argument("--trained-on", required=True, help="the pictures in words, with their licence or source")
    c.add_argument("--name", required=True)
    c.add_argument("--k", type=int, required=True, help="0-based timestep of the reconstruction")
    c.add_argument("--sigma", type=float, required=True, help="certification noise in [0,1] units")
    c.add_argument("--draws", type=int, default=64, help="draws a frame in calibration and evaluation")
    c.add_argument("--filter-px", type=int, default=5)
    c.add_argument("--top-pixels", type=int, default=1)
    c.add_argument("--head-weight", type=float, default=0.0, help="share of the defect map in the score, 0 to 1")
    c.add_argument("--held-back", required=True, help="folder of normal pictures the model was not trained on")
    c.add_argument("--max-mib", type=float, default=6.0)
    c.add_argument("--version", type=int, default=1, help="of the bundle; `calibrate` writes the next one")
    c.add_argument("--out", required=True, help="bundle folder")
    return top


def run_train(a):
    torch.set_num_threads(a.threads)
    architecture = Architecture(a.size, a.channels, a.unshuffle, a.base, a.multipliers, a.attention, a.head)
    line = Line(a.flips, a.shift, a.turn, a.zoom, a.crop, a.exposure, a.light)
    weights = Weights(a.heal, a.pixel, a.picture, a.consistency)
    defects = a.defects if a.head else 0.0
    recipe = Recipe(a.steps, a.batch, a.lr, a.k_max, a.seed, defects, line, weights)
    train(a.data, a.held_back, a.out, architecture, recipe, a.resume, a.begin_with, a.stop_after, device=a.device)


def run_split(a):
    record = split(a.data, a.out, a.held_back, a.seed)
    groups = len({row["group"] for side in ("fit", "held-back") for row in record[side]})
    print(f"{len(record['fit'])} fit, {len(record['held-back'])} held back, {groups} groups")


def run_search(a):
    torch.set_num_threads(a.threads)
    training = Training.load(Path(a.run) / "checkpoint.pt", a.device)
    fit = Pictures(None, training.architecture, Path(a.run) / "fit.npy", a.device).inputs
    held_back = Pictures(a.held_back, training.architecture, device=a.device).inputs
    levels = [measure.Level(k, float(schedule.sigma_k(k))) for k in a.k]
    weights = (0.0, 0.5, 0.8, 1.0) if training.architecture.head else (0.0,)
    poolings = [measure.Pooling(*choice) for choice in product(weights, (5, 9), (1, 32))]
    print("  k  sigma  head-weight  filter-px  top-pixels   AUROC  (95 %)            certified AUC")
    for level, pooling, found in measure.search(training, fit, held_back, levels, poolings, a.draws):
        print(
            f"{level.k:3}  {level.sigma:.4f}  {pooling.head_weight:9.1f}  {pooling.filter_px:9}  "
            f"{pooling.top_pixels:10}    {found['auroc']:.3f}  ({found['low']:.3f} to {found['high']:.3f})"
            f"  {found['certified']:.3f} at r = {found['radius']:.4f}"
        )


def run_export(a):
    detector = Detector(a.k, a.sigma, a.filter_px, top_pixels=a.top_pixels, head_weight=a.head_weight)
    found = bundle.write(subject(a), a.name, detector, a.draws, a.held_back, a.out, a.max_mib, a.version)
    print(
        f"{a.out}: {found['mib']:.2f} MiB, {found['nodes']} nodes, differs from PyTorch by {found['difference']:.1e}, "
        f"in the scores of {found['compared']} pictures by {found['scores_differ']:.1e} of their spread "
        f"({found['raw_spread']:.3e}); now `certiscope calibrate`"
    )


def subject(a):
    """The model to export, from whichever source was named."""
    if a.run:
        training = Training.load(Path(a.run) / "checkpoint.pt")
        model, size = training.ema_model(), training.architecture.size
        provenance = {"data": a.trained_on, **training.provenance(model)}
        return bundle.Subject(model, training.architecture.channels, size, size, provenance)
    if a.diffusers:
        loaded = from_diffusers(a.diffusers, a.schedule_is_linear)
        origin = f"diffusers UNet2DModel {Path(a.diffusers).name}"
    else:
        config = json.loads(Path(a.improved_config).read_text()) if a.improved_config else {}
        loaded = from_improved_diffusion(a.improved_diffusion, config)
        origin = f"improved-diffusion {Path(a.improved_diffusion).name}"
    return bundle.Subject(*loaded, {"data": a.trained_on, "architecture": origin, "exported_at": bundle.today()})


def main():
    a = parser().parse_args()
    try:
        {"split": run_split, "train": run_train, "search": run_search, "export": run_export}[a.command](a)
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
