"""`certiscope-models split`."""

from ..grouping import split
from ..picture_set import PictureSet
from ..train_options import add_of_pictures

HELP = "hold back whole groups of near-identical pictures"


def add_arguments(parser):
    parser.add_argument("--data", required=True, help="folder of normal pictures")
    parser.add_argument("--out", required=True, help="new folder; gets fit/, held-back/ and split.json")
    parser.add_argument("--held-back", type=float, default=0.3, help="share of the pictures (default 0.3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--part-from",
        metavar="REGEX|folder",
        help="names tell the part: the first group of this regular expression in a picture's path below --data, or its "
        "sub-folder (default: near-identical pictures show one part)",
    )
    add_of_pictures(parser.add_argument)


def run(arguments):
    a = arguments
    record = split(a.data, a.out, a.held_back, a.seed, PictureSet(a.full_scale, a.mixed_sizes), a.part_from)
    groups = len({row["group"] for side in ("fit", "held-back") for row in record[side]})
    copied = "" if record["linked"] else "; copied, because this file system has no links"
    print(f"{len(record['fit'])} fit, {len(record['held-back'])} held back, {groups} groups{copied}")
