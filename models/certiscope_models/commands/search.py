"""`certiscope-models search`."""

from pathlib import Path

import torch

from ..figures import has_bounds
from ..output import say_once
from ..picture_set import PictureSet
from ..search import detectors_to_try, search
from ..train_options import numbers
from ..training import Training
from ..training_data import Pictures

HELP = "find k, sigma, weights and pooling on held-back pictures with synthetic defects"


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
    model = training.ema_model()
    levels = [detectors_to_try(model, held_back[0], k) for k in arguments.k]
    print("  k  sigma  head-weight  feature-weight  filter-px  top-pixels   AUROC  (95 %)            certified AUC")
    too_few = False
    for detector, found, certified, radius in search(model, fit, held_back, levels, arguments.draws):
        bounded = has_bounds(arguments.draws, radius / detector.sigma)
        too_few |= not bounded
        shown = f"{certified:.3f}" if bounded else "  -  "
        print(
            f"{detector.k:3}  {detector.sigma:.4f}  {detector.head_weight:11.4g}  {detector.feature_weight:14.4g}  "
            f"{detector.filter_px:9}  "
            f"{detector.top_pixels:10}    {found.value:.3f}  ({found.low:.3f} to {found.high:.3f})"
            f"  {shown} at r = {radius:.4f}"
        )
    if too_few:
        say_once(f"-: {arguments.draws} draws are too few for any certificate at this radius; give more --draws")
