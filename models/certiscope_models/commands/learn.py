"""`certiscope-models learn`."""

import argparse
from pathlib import Path

from ..learn import budget
from ..learn.stages import OWN, Asked, learn
from ..output import show
from ..train_options import add_of_pictures

HELP = "from a folder of good parts to a calibrated bundle; typed again, it goes on where it was"


def add_arguments(parser):
    add = parser.add_argument
    add("--good", required=True, type=Path, help="folder of pictures of good parts")
    add("--defects", type=Path, help="folder of pictures of real defects; its sub-folders are kinds")
    add("--out", required=True, type=Path, help="new folder of the bundle; the work lies beside it, in OUT.learn")
    add("--budget", choices=tuple(budget.SECONDS), default="standard", help="time to take (default standard)")
    add(
        "--radius", type=float, help="l2 radius to certify parts at (default: 0.00045 for each value of the input, RMS)"
    )
    add(
        "--part-from",
        metavar="REGEX|folder",
        help="names tell the part: the first group of this regular expression in a picture's path below --good, or its "
        "sub-folder (default: near-identical pictures show one part)",
    )
    add("--leave-out-odd", action="store_true", help="learn without the pictures that are far from the others")
    add("--certiscope", metavar="PATH", help="the program certiscope (default: beside this command, or in PATH)")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--threads", type=int, help="threads to compute with (default: all cores)")
    add("--seed", type=int, default=1)
    add_of_pictures(add)
    add("--steps", type=int, help=argparse.SUPPRESS)  # for tests: the length of the training


def run(arguments):
    asked = {name: value for name, value in vars(arguments).items() if name != "command"}
    made = learn(Asked(**asked))
    show(f"{made}: learned. Look at {made / OWN[0]}; then set `bundle` in station.toml to this folder")
