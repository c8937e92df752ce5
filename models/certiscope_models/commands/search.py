"""`certiscope-models search`."""

from itertools import product
from pathlib import Path

import torch

from .. import schedule
from ..figures import has_bounds
from ..output import say_once
from ..picture_set import PictureSet
from ..score import Detector
from ..search import search
from ..train_options import numbers
from ..training import Training
from ..training_data import Pictures

HELP = "find k, sigma and pooling on held-back pictures with synthetic defects"
HEAD_WEIGHTS, FILTERS_PX, TOP_PIXELS = (0.0, 0.5, 0.8, 1.0), (5, 9), (1, 32)


def add_arguments(parser):
    add = parser.add_argument
    add("--run", required=True, help="folder of a training run")
    add("--held-back", required=True, help="folder of normal pictures the model was not trained on")
    add("--k", type=numbers, default=(15, 25, 35, 50), help="timesteps to try, each with its own noise level")
    add("--draws", type=int, default=64, help="draws a picture")
    add("--device", default="cpu", help="cpu, or cuda where a GPU is")
    add("--threads", type=int, default=2)


def run(arguments):
    torch.set_num_threads(arguments.threads)
    folder, device = Path(arguments.run), arguments.device
    training = Training.load(folder / "checkpoint.pt", device)
    read = PictureSet(training.recipe.full_scale, training.recipe.mixed_sizes, training.pictures)
    fit = Pictures(None, training.architecture, folder / "fit.npy", device, read).inputs
    held_back = Pictures(arguments.held_back, training.architecture, device=device, into=read).inputs
    read.require_one_kind()
    weights = HEAD_WEIGHTS if training.architecture.head else (0.0,)
    levels = [
        [
            Detector(k, float(schedule.sigma_k(k)), px, top_pixels=top, head_weight=weight)
            for weight, px, top in product(weights, FILTERS_PX, TOP_PIXELS)
        ]
        for k in arguments.k
    ]
    print("  k  sigma  head-weight  filter-px  top-pixels   AUROC  (95 %)            certified AUC")
    too_few = False
    for detector, found, certified, radius in search(training.ema_model(), fit, held_back, levels, arguments.draws):
        bounded = has_bounds(arguments.draws, radius / detector.sigma)
        too_few |= not bounded
        shown = f"{certified:.3f}" if bounded else "  -  "
        print(
            f"{detector.k:3}  {detector.sigma:.4f}  {detector.head_weight:9.1f}  {detector.filter_px:9}  "
            f"{detector.top_pixels:10}    {found.value:.3f}  ({found.low:.3f} to {found.high:.3f})"
            f"  {shown} at r = {radius:.4f}"
        )
    if too_few:
        say_once(f"-: {arguments.draws} draws are too few for any certificate at this radius; give more --draws")
