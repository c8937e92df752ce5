"""Train a detector on pictures of good parts, and write a bundle that certiscope inspects with."""

import argparse
import os
import sys
from pathlib import Path

from . import Refused
from .commands import ablate, export, learn, search, split, train
from .output import Unbreakable, drop_stdout, printable

COMMANDS = {"learn": learn, "split": split, "train": train, "search": search, "export": export, "ablate": ablate}
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
    """Run one command. A refusal is one line on stderr and exit status 1; a wrong option is argparse's status 2.

    Progress and notes go to stderr, which may be full or closed. A table goes to stdout: where its reader has seen
    enough (`| head`), the command ends quietly.
    """
    arguments = parser().parse_args()
    kept, sys.stderr = sys.stderr, Unbreakable(sys.stderr or open(os.devnull, "w"))
    try:
        COMMANDS[arguments.command].run(arguments)
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except Refused as refusal:
        sys.exit(printable(str(refusal)))
    except OSError as error:  # a full disk, a folder that may not be written
        drop_stdout()
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(printable(f"{arguments.command}: {place}{error.strerror or error}"))
    finally:
        sys.stderr = kept


if __name__ == "__main__":
    main()
