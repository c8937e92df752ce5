"""One machine: the folder that it shares with the host, and its QEMU process."""

import os
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent


class RigFailure(Exception):
    """The rig failed. This says nothing about certiscope."""


def give(share, binary, package):
    """Makes the shared folder: in `given` the suite, the program and what it needs; the rest is for answers."""
    given = share / "given"
    shutil.copytree(HERE / "guest", given / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    (share / "start").symlink_to("given/suite/start")
    bundles = given / "bundles"
    bundles.mkdir(parents=True)
    shutil.copy(binary, given / "certiscope")
    shutil.copy(os.environ["ORT_DYLIB_PATH"], given)
    shutil.copytree(ROOT / "tests/fixtures/faulty", bundles / "faulty")
    shutil.copytree(ROOT / "models/bundles/demo-line", bundles / "demo-line")
    if package:
        shutil.copy(package, given / "certiscope.deb")
    elif (ROOT / "systemd").is_dir():
        shutil.copytree(ROOT / "systemd", given / "systemd")


def take_back(share):
    """Deletes what was given to the machine, and keeps the answers."""
    (share / "start").unlink()
    shutil.rmtree(share / "given")


class Machine:
    def __init__(self, image, share, disk=None):
        command = [HERE / "boot", image, share] + ([disk] if disk else [])
        self.share = share
        self.qemu = open(share / "qemu.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.qemu, stderr=self.qemu)
        self.began = time.monotonic()

    def wait(self, limit):
        """Waits until the machine powers itself off, and returns the exit code of its program."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.cut()
            raise RigFailure(f"no end within {limit} s; the end of its output: {self.last_words()}") from None
        answer = self.share / "exit-code"
        if not answer.exists():
            raise RigFailure(f"it died (QEMU's exit code {self.process.returncode}); the end of its output: {self.last_words()}")
        return int(answer.read_text())

    def cut(self):
        """Cuts the power."""
        self.process.kill()
        self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def last_words(self):
        said = [self.share / name for name in ("console.log", "qemu.log")]
        return " | ".join(name.read_text(errors="replace")[-300:].strip() for name in said if name.exists())
