"""`certiscope-models export`."""

import json
from pathlib import Path

from .. import Refused, bundle, train_options
from ..foreign import from_diffusers, from_improved_diffusion
from ..picture_set import PictureSet
from ..provenance import provenance
from ..score import Detector
from ..training import Training

HELP = "write a bundle from a training run or from someone else's checkpoint"


def add_arguments(parser):
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="folder of a training run")
    source.add_argument("--diffusers", help="folder of a diffusers pipeline or UNet2DModel")
    source.add_argument("--improved-diffusion", help="OpenAI improved-diffusion checkpoint, .pt")
    add = parser.add_argument
    add("--improved-config", help="JSON file: the flags the checkpoint was trained with")
    add(
        "--schedule-is-linear",
        action="store_true",
        help="state that a U-Net without a scheduler file was trained with the linear schedule",
    )
    add("--trained-on", required=True, help="the pictures in words, with their licence or source")
    add("--name", required=True, help="name of the bundle")
    add("--k", type=int, required=True, help="0-based timestep of the reconstruction")
    add("--sigma", type=float, required=True, help="certification noise in [0,1] units")
    add("--draws", type=int, default=64, help="draws of each frame in calibration and evaluation")
    add("--filter-px", type=int, default=5, help="side of the mean filter in px, odd")
    add("--top-pixels", type=int, default=1, help="how many of the largest pixels are averaged into the score")
    add("--head-weight", type=float, default=0.0, help="share of the defect map in the score, 0 to 1")
    add("--feature-weight", type=float, default=0.0, help="share of the feature map in the score, 0 to 1")
    add("--held-back", required=True, help="folder of normal pictures the model was not trained on")
    train_options.add_of_pictures(add)
    add("--max-mib", type=float, default=6.0, help="largest allowed size of model.onnx, in MiB")
    add("--version", type=int, default=1, help="version of the bundle; `calibrate` writes the next one")
    add("--out", required=True, help="bundle folder")


def subject(arguments):
    """(the model to export, the set that reads its pictures), from the source that was named."""
    a = arguments
    if a.run:
        training = Training.load(Path(a.run) / "checkpoint.pt")
        of_run = training.recipe.full_scale
        if a.full_scale is not None and training.pictures and a.full_scale != (of_run or 65535):
            raise Refused(
                f"export.full-scale = {a.full_scale}: the run was trained with {of_run or 65535}; leave it out"
            )
        scale = of_run if a.full_scale is None else a.full_scale
        read = PictureSet(scale, training.recipe.mixed_sizes or a.mixed_sizes, training.pictures)
        model, shape = training.ema_model(), training.architecture
        table = {"data": a.trained_on, **provenance(training, model)}
        return bundle.Subject(model, shape.channels, shape.height, shape.width, table), read
    if a.diffusers:
        loaded = from_diffusers(a.diffusers, a.schedule_is_linear)
        origin = f"diffusers UNet2DModel {Path(a.diffusers).name}"
    else:
        config = json.loads(Path(a.improved_config).read_text()) if a.improved_config else {}
        loaded = from_improved_diffusion(a.improved_diffusion, config)
        origin = f"improved-diffusion {Path(a.improved_diffusion).name}"
    table = {"data": a.trained_on, "architecture": origin, "exported_at": bundle.today()}
    return bundle.Subject(*loaded, table), PictureSet(a.full_scale, a.mixed_sizes)


def run(arguments):
    a = arguments
    shares = {"head_weight": a.head_weight, "feature_weight": a.feature_weight}
    detector = Detector(a.k, a.sigma, a.filter_px, top_pixels=a.top_pixels, **shares)
    exported, read = subject(a)
    found = bundle.write(exported, a.name, detector, a.draws, a.held_back, a.out, a.max_mib, a.version, read)
    print(
        f"{a.out}: {found['mib']:.2f} MiB, {found['nodes']} nodes, differs from PyTorch by {found['difference']:.1e}, "
        f"in the scores of {found['compared']} pictures by {found['scores_differ']:.1e} of their spread "
        f"({found['raw_spread']:.3e}); now `certiscope calibrate`"
    )
