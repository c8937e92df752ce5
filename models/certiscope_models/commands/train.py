"""`certiscope-models train`."""

import torch

from .. import train_options
from ..train import train
from ..training_data import aspect_of

HELP = "train a denoiser on a folder of normal pictures"


def add_arguments(parser):
    add = parser.add_argument
    add("--data", required=True, help="folder of normal pictures, e.g. SPLIT/fit")
    add("--held-back", help="folder for the held-back loss, e.g. SPLIT/held-back")
    add("--out", required=True, help="folder of the run: checkpoint, losses.csv, samples/")
    add("--resume", action="store_true", help="continue from the checkpoint with its settings; --steps may change")
    add("--begin-with", metavar="RUN", help="begin with the weights and the architecture of an earlier run")
    train_options.add(parser)
    add("--stop-after", type=int, help="stop at this step; --resume continues")
    add("--device", default="cpu", help="cpu, or cuda where a GPU is")
    add("--threads", type=int, default=2)


def run(arguments):
    torch.set_num_threads(arguments.threads)
    train(
        arguments.data,
        arguments.held_back,
        arguments.out,
        *train_options.settings(arguments, aspect_of(arguments.data)),
        arguments.resume,
        arguments.begin_with,
        arguments.stop_after,
        device=arguments.device,
    )
