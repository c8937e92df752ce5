"""The program `certiscope`: where it is, and the three things that only it can do.

Guarantees: that it is there and runs is known before anything is trained. What it writes goes to a new folder each
time, so one that outlives a killed `learn` harms nothing. What it refuses is handed on in its own words.
Leaves out: what it computes.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from .. import Refused

NAME = "certiscope"
BETWEEN = 0.5  # seconds between two looks at a program that works
BUILT = ("target/release", "target/debug")  # of a clone, where models/ lies in it


def find(asked):
    """The path of the program: the one asked for, one beside this command or this clone, or one in PATH."""
    if asked:
        program = shutil.which(asked) or (shutil.which(os.path.abspath(asked)) if os.path.exists(asked) else None)
        if not program:
            raise Refused(f"learn.certiscope = {asked}: no program that can be run; the path of `{NAME}` is needed")
    else:
        clone = Path(__file__).resolve().parents[3]
        beside = [Path(sys.argv[0]).resolve().parent, *(clone / place for place in BUILT)]
        program = next((found for place in beside if (found := shutil.which(NAME, path=str(place)))), None)
        program = program or shutil.which(NAME)
        if not program:
            raise Refused(
                f"learn: the program `{NAME}` is not beside this command and not in PATH, and only it makes a "
                f"threshold; install it, or name it: --certiscope PATH"
            )
    program = os.path.abspath(program)
    ended = run_quietly([program, "calibrate", "--help"])
    if ended.returncode:
        raise Refused(f"learn.certiscope = {program}: does not run: {last_line(ended)}; `{NAME}` is needed")
    return program


def environment():
    """Its ONNX Runtime: the one it would find, else the one that this package uses too."""
    found = dict(os.environ)
    if not found.get("ORT_DYLIB_PATH"):
        package = find_spec("onnxruntime")
        inside = sorted(Path(package.origin).parent.glob("capi/libonnxruntime.so*")) if package else []
        if inside:
            found["ORT_DYLIB_PATH"] = str(inside[0])
    return found


def run_quietly(words):
    try:
        return subprocess.run(words, capture_output=True, text=True, errors="replace", env=environment())
    except OSError as error:
        raise Refused(f"learn.certiscope = {words[0]}: cannot be run: {error.strerror}") from None


def last_line(ended):
    lines = [line for line in (ended.stderr or "").splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {ended.returncode}"


def run(words, into, progress, expected):
    """Run the program; its output goes to the files into.out and into.err. Returns (exit code, stdout, stderr)."""
    out, err = into.with_suffix(".out"), into.with_suffix(".err")
    with open(out, "w") as stdout, open(err, "w") as stderr:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment())
        began = time.monotonic()
        try:
            while True:
                try:
                    process.wait(BETWEEN)
                    break
                except subprocess.TimeoutExpired:
                    progress.at(min(0.97, (time.monotonic() - began) / max(expected, 1.0)))
        finally:
            if process.poll() is None:  # Ctrl-C, or a fault here
                process.kill()
                process.wait()
    return process.returncode, out.read_text(errors="replace"), err.read_text(errors="replace")


def fault_of(code, stderr):
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {code}"


def calibrate(program, bundle, threshold, maps, out, options, into, progress, expected):
    """Make a threshold: the bundle `out`. Returns the lines that doubt it."""
    words = [program, "calibrate", "--bundle", bundle, "--normal", threshold, "--maps", maps, "--out", out, *options]
    code, stdout, stderr = run([str(word) for word in words], into, progress, expected)
    if code or not Path(out).is_dir():
        raise Refused(f"learn: `{NAME} calibrate` made no threshold: {fault_of(code, stderr)}")
    return [line for line in stdout.splitlines() if line.startswith("NOT BELIEVABLE")]


def inspect(program, bundle, pictures, maps, options, into, progress, expected):
    """What a station says of the pictures: one record each, in order. Heat maps go to the folder `maps`."""
    words = [program, "inspect", "--bundle", bundle, "--json", "--heat-maps", maps, *options, "--", *pictures]
    code, stdout, stderr = run([str(word) for word in words], into, progress, expected)
    try:
        records = json.loads(stdout)
    except ValueError:
        raise Refused(f"learn: `{NAME} inspect` gave no results: {fault_of(code, stderr)}") from None
    if len(records) != len(pictures):
        raise Refused(f"learn: `{NAME} inspect` gave {len(records)} results for {len(pictures)} pictures")
    return records
