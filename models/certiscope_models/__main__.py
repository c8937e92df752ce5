"""Train a detector on pictures of good parts, and write a bundle that certiscope inspects with."""

import argparse
import sys
from pathlib import Path

from . import Refused
from .commands import ablate, export, search, split, train

COMMANDS = {"split": split, "train": train, "search": search, "export": export, "ablate": ablate}
INSTALLED = "certiscope-models"


def parser():
    """All commands; the options of each are in its own file."""
    called = INSTALLED if Path(sys.argv[0]).stem == INSTALLED else "python -m certiscope_models"
    top = argparse.ArgumentParser(prog=called, description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP))
    return top


def main():
    """Run one command. A refusal is one line on stderr and exit status 1; a wrong option is argparse's status 2."""
    arguments = parser().parse_args()
    try:
        COMMANDS[arguments.command].run(arguments)
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
