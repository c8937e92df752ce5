"""What a command says while it works. Nobody needs it for the work, so output that cannot be written ends nothing."""

import os
import sys

_said = set()


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


def show(line):
    """Print a line of what the files of a command hold too, so a reader who is gone (`| head`) does not end hours."""
    try:
        print(line, flush=True)
    except OSError:
        drop_stdout()


class Unbreakable:
    """A stream whose reader may go away: what cannot be written is dropped, because nobody needs it for the work."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        try:
            return self.stream.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self):
        try:
            self.stream.flush()
        except (OSError, ValueError):
            pass


def drop_stdout():
    """Send the rest to nowhere: Python would complain once more, as it ends, of what it could not write."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # no stdout, or one that is no file
        pass
