"""The work folder beside the bundle: what was asked, the pictures it was asked of, and which stages are done.

Guarantees: `state.json` is replaced in one move, so a command that was killed finds either the stage or not. Other
options or other pictures than those that the work began with are refused in words, with nothing changed. Two commands
never work in one folder at once.
Leaves out: what a stage leaves in the folder; a stage that was broken off begins anew, or resumes what it can.
"""

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

from .. import Refused

FORMAT = 1
NAMED = 5  # pictures that a refusal names


def folder_of(bundle):
    """The work folder of the bundle folder `bundle`."""
    return bundle.with_name(f"{bundle.name}.learn")


def digest_of(file):
    """The sha256 of a file's content; of one that cannot be read the reason, which `look` reports."""
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def digests(folder, files):
    """{name below `folder`: sha256} of the files."""
    return {os.path.relpath(file, folder): digest_of(file) for file in files}


class Work:
    """The work folder, open and locked until the process ends.

    `asked` are the options that decide the bundle, `pictures` {"good": digests, "defects": digests}.
    """

    def __init__(self, folder, asked, pictures):
        self.folder = Path(folder)
        self.state_file = self.folder / "state.json"
        new = {"format": FORMAT, "asked": asked, "pictures": pictures, "done": {}}
        earlier = self.read()
        if earlier is not None and earlier["done"]:
            self.refuse_changes(earlier, new)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"learn: {self.folder}: another learn works in it; wait for its end, or stop it") from None
        earlier = self.read()  # again: the one that had the lock may have gone further
        self.state = earlier if earlier and earlier["done"] else new
        self.resumed = bool(self.state["done"])
        self.write()

    def read(self):
        try:
            found = json.loads(self.state_file.read_text())
            return found if found["format"] == FORMAT and isinstance(found["done"], dict) else self.unknown()
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return self.unknown()

    def unknown(self):
        raise Refused(
            f"learn: {self.state_file}: not written by this version of learn; delete {self.folder} to begin anew"
        )

    def refuse_changes(self, earlier, new):
        cure = f"ask as before, give another --out, or delete {self.folder} to begin anew"
        for name, value in new["asked"].items():
            was = earlier["asked"].get(name)
            if was != value:
                raise Refused(f"learn.{name} = {value}: the work in {self.folder} began with {was}; {cure}")
        for kind, now in new["pictures"].items():
            was = earlier["pictures"].get(kind, {})
            if was == now:
                continue
            fresh, gone = sorted(now.keys() - was.keys()), sorted(was.keys() - now.keys())
            changed = sorted(name for name in now.keys() & was.keys() if now[name] != was[name])
            listed = ", ".join(
                f"{len(names)} {word} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
                for word, names in (("new", fresh), ("missing", gone), ("changed", changed))
                if names
            )
            raise Refused(f"learn.{kind}: not the pictures that the work in {self.folder} began with: {listed}; {cure}")

    @property
    def done(self):
        return self.state["done"]

    def finish(self, stage, result):
        """Record that `stage` is done, with what it found."""
        self.done[stage] = result
        self.write()

    def leave(self):
        """Unlock the folder; one in which nothing was done is removed."""
        if not self.done:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()

    def forget(self, stages):
        """These stages must be done again."""
        for stage in stages:
            self.done.pop(stage, None)
        self.write()

    def write(self):
        write_whole(self.state_file, json.dumps(self.state, indent=1) + "\n")


def write_whole(file, text):
    """Replace a file in one move, so that an interruption leaves the old one whole."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text)
    os.replace(partial, file)
