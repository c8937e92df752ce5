"""Which files of a folder are pictures: the walk that every command uses.

Guarantees: the station walks in the same way (`capture::folder` and `capture::picture_files` in Rust; a test compares
the names). Links are followed, and a circle of links ends. Folders called `ground_truth` and hidden files and folders
(with a leading dot) are left out. Every other file is read, or counted by its extension and named once on stderr.
A link that leads nowhere counts as a picture if its name is that of one: reading it then says what is wrong.
"""

import os
import sys
from collections import Counter
from pathlib import Path

from . import Refused

# in any case of letters; as in src/capture/picture_files.rs
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff"}
NEEDED = "PNG, JPEG, BMP or TIFF"

_said = set()


def picture_files(folder):
    """Every picture below `folder`, sorted by path. Says what it left out; refuses a folder without any picture."""
    if not Path(folder).is_dir():
        raise Refused(f"pictures: {folder}: no such folder; a folder of {NEEDED} pictures is needed")
    files, left_out = walk(folder)
    if not files:
        but = f" ({left_out_in_words(left_out)})" if left_out else ""
        raise Refused(f"pictures: {folder}: no {NEEDED} in it{but}; a folder of pictures is needed")
    if left_out:
        say_once(f"{folder}: {left_out_in_words(left_out)}")
    return files


def walk(folder):
    """(files, left_out): the sorted pictures below `folder`, and how many other files there are by extension."""
    seen, files, left_out = set(), [], Counter()
    waiting = [os.fspath(folder)]
    while waiting:
        at = waiting.pop()
        try:
            real = os.path.realpath(at, strict=True)
            names = sorted(os.listdir(at), key=os.fsencode)
        except OSError as error:
            raise Refused(f"pictures: {at}: cannot be read: {error.strerror}; a folder that can be is needed") from None
        if real in seen:
            continue
        seen.add(real)
        folders = []
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(at, name)
            suffix = os.path.splitext(name)[1].lower()
            if os.path.isdir(path):
                if name != "ground_truth":
                    folders.append(path)
            elif suffix in SUFFIXES and (os.path.isfile(path) or not os.path.exists(path)):
                files.append(Path(path))
            else:  # also a named pipe, whatever its name: opening it would wait for ever
                left_out[suffix] += 1
        # The last is taken first. Of two links to one folder every machine follows the same one.
        waiting.extend(reversed(folders))
    return sorted(files), left_out


def left_out_in_words(left_out):
    """For example `4 files left out: 2 .webp, 1 .txt, 1 without extension`."""
    kinds = sorted(left_out.items(), key=lambda item: (-item[1], item[0] == "", item[0]))
    count = sum(left_out.values())
    words = ", ".join(f"{number} {suffix or 'without extension'}" for suffix, number in kinds)
    return f"{count} {'file' if count == 1 else 'files'} left out: {words}"


def printable(text):
    """The text on one line, whatever a file name holds: line breaks, escapes and bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say_once(text):
    """A line on stderr, once in a process. Nobody needs it for the work, so a stderr that is closed or full is none."""
    if text in _said:
        return
    _said.add(text)
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass
