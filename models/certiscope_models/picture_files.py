"""Which files of a folder are pictures: the walk that every command uses.

Guarantees: the station walks in the same way (`capture::folder` and `capture::picture_files` in Rust; a test compares
the names). Links are followed, and a circle of links ends. Folders called `ground_truth` and hidden files and folders
(with a leading dot) are left out. Every other file is read, or counted by its extension and named once on stderr.
A link that leads nowhere counts as a picture if its name is that of one: reading it then says what is wrong.
"""

import os
from collections import Counter
from pathlib import Path

from . import Refused
from .output import printable, say_once

# in any case of letters; as in src/capture/picture_files.rs
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff"}
NEEDED = "PNG, JPEG, BMP or TIFF"
KINDS_NAMED = 8


class Walk:
    """The pictures below a folder, and what else was found there."""

    def __init__(self, folder):
        self.files, self.left_out, self.hidden, self.ground_truth = [], Counter(), 0, False
        seen, waiting = set(), [os.fspath(folder)]
        while waiting:
            at = waiting.pop()
            try:
                real = os.path.realpath(at, strict=True)
                names = sorted(os.listdir(at), key=os.fsencode)
            except OSError as error:
                raise Refused(
                    f"pictures: {at}: cannot be read: {error.strerror}; a folder that can be read is needed"
                ) from None
            if real in seen:
                continue
            seen.add(real)
            # The last is taken first. Of two links to one folder every machine follows the same one.
            waiting.extend(reversed([path for name in names if (path := self.entry(at, name))]))
        self.files.sort()

    def entry(self, at, name):
        """Takes or counts what is called `name` in the folder `at`; returns the path of a folder to walk."""
        path = os.path.join(at, name)
        if name.startswith("."):
            self.hidden += 1
        elif os.path.isdir(path):
            if name != "ground_truth":
                return path
            self.ground_truth = True
        elif os.path.exists(path) and not os.path.isfile(path):
            self.left_out["not an ordinary file"] += 1  # a named pipe: opening it would wait for ever
        elif is_picture(path):
            self.files.append(Path(path))
        else:
            self.left_out[extension(name)] += 1
        return None

    def instead(self):
        """What was found where no picture is."""
        found = [left_out_in_words(self.left_out)] if self.left_out else []
        found += [f"{self.hidden} hidden"] if self.hidden else []
        found += ["the masks in ground_truth"] if self.ground_truth else []
        return f"found: {', '.join(found)}" if found else "no file is in it or below it"


def picture_files(folder):
    """Every picture below `folder`, sorted by path. Says what it left out; refuses a folder without any picture."""
    if not Path(folder).is_dir():
        raise Refused(f"pictures: {folder}: no such folder; a folder of {NEEDED} pictures is needed")
    walk = Walk(folder)
    if not walk.files:
        raise Refused(f"pictures: {folder}: no {NEEDED} in it; {walk.instead()}; a folder of pictures is needed")
    if walk.left_out:
        say_once(f"{folder}: {left_out_in_words(walk.left_out)}")
    return walk.files


def is_picture(path):
    """Whether this file, which is no folder, is a picture by its name. Its content is not looked at."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES and not os.path.isdir(path)


def extension(name):
    """The extension of a file name as it is printed. It is cut, because a name may have a dot within a sentence."""
    found = printable(os.path.splitext(name)[1].lower())
    if found in ("", "."):
        return "without extension"
    return found if len(found) <= 17 else f"{found[:17]}..."


def left_out_in_words(left_out):
    """For example `4 files left out: 2 .webp, 1 .txt, 1 without extension`. At most KINDS_NAMED kinds are named."""
    kinds = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    count, others = sum(left_out.values()), sum(number for _, number in kinds[KINDS_NAMED:])
    words = [f"{number} {kind}" for kind, number in kinds[:KINDS_NAMED]]
    words += [f"{others} others"] if others else []
    return f"{count} {'file' if count == 1 else 'files'} left out: {', '.join(words)}"
