"""`certiscope-models split`."""

from ..grouping import split

HELP = "hold back whole groups of near-identical pictures"


def add_arguments(parser):
    parser.add_argument("--data", required=True, help="folder of normal pictures")
    parser.add_argument("--out", required=True, help="new folder; gets fit/, held-back/ and split.json")
    parser.add_argument("--held-back", type=float, default=0.3, help="share of the pictures (default 0.3)")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments):
    record = split(arguments.data, arguments.out, arguments.held_back, arguments.seed)
    groups = len({row["group"] for side in ("fit", "held-back") for row in record[side]})
    print(f"{len(record['fit'])} fit, {len(record['held-back'])} held back, {groups} groups")
