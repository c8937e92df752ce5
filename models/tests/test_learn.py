"""`learn` as a person types it: what it refuses before it trains, and that a killed one ends with the same bundle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from needs import skip, small_disk
from PIL import Image

from certiscope_models import Refused
from certiscope_models.__main__ import main
from certiscope_models.learn import work
from certiscope_models.learn.stages import STAGES

MODELS = Path(__file__).parents[1]
STEPS = 6


def program():
    """The real program certiscope: named by the environment, built in this clone, or in PATH."""
    named = os.environ.get("CERTISCOPE_BINARY")
    places = (
        [named] if named else [str(MODELS.parent / "target" / kind / "certiscope") for kind in ("release", "debug")]
    )
    found = next((path for path in places if shutil.which(path)), None) or shutil.which("certiscope")
    if not found:
        skip("certiscope", "the program is not built here; set CERTISCOPE_BINARY, or `cargo build`")
    return os.path.abspath(found)


def good_part(rng, smooth=False):
    """A grey picture of 40x32 px: a surface of its own, with grain."""
    surface = Image.fromarray(rng.integers(0, 255, (6, 8), dtype=np.uint8)).resize((40, 32), Image.Resampling.BICUBIC)
    pixels = 60 + np.asarray(surface, float) * 0.4 + (0 if smooth else rng.normal(0, 8, (32, 40)))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def good(tmp_path):
    folder = tmp_path / "gute Teile für Linie 1"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(44):
        good_part(rng).save(folder / f"Stück {n}.png")
    return folder


@pytest.fixture
def defects(tmp_path):
    folder = tmp_path / "defects"
    rng = np.random.default_rng(2)
    for kind in ("hole", "crack"):
        (folder / kind).mkdir(parents=True)
        for n in range(4):
            pixels = np.asarray(good_part(rng)).copy()
            pixels[10:20, 10:25] = 255 if kind == "hole" else 0
            Image.fromarray(pixels).save(folder / kind / f"{n}.png")
            if n % 2 == 0:
                mask = np.zeros((32, 40), np.uint8)
                mask[10:20, 10:25] = 255
                Image.fromarray(mask).save(folder / kind / f"{n}_mask.png")
    return folder


def as_process(words, driver=None, **settings):
    """`learn` with these words, as a process; `driver` is Python that runs first."""
    start = (
        ["-c", f"{driver}\nfrom certiscope_models.__main__ import main\nmain()"]
        if driver
        else ["-m", "certiscope_models"]
    )
    command = [sys.executable, "-B", *start, "learn", "--threads", "1", *[str(word) for word in words]]
    environment = {**os.environ, "PYTHONPATH": str(MODELS)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, **settings)


def asking(good, out, *more):
    return ["--good", good, "--out", out, "--steps", STEPS, *more]


def asking_with_program(good, out, *more):
    return asking(good, out, "--certiscope", program(), *more)


# ---- refusals, before anything is trained


def refused(words, text, left=None):
    """The command ends with one line that holds `text`, and leaves no work folder."""
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr("sys.argv", ["certiscope-models", "learn", "--threads", "1", *map(str, words)])
        main()
    line = stopped.value.code
    assert isinstance(line, str) and text in line and "\n" not in line, line
    if left is not None:
        assert not work.folder_of(left).exists() and not left.exists()
    return line


def test_a_missing_program_is_refused_before_anything_is_read(good, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    refused(asking(good, out, "--certiscope", tmp_path / "nowhere"), "no program that can be run", out)
    (tmp_path / "broken").write_text("#!/bin/sh\necho no good >&2\nexit 3\n")
    (tmp_path / "broken").chmod(0o755)
    refused(asking(good, out, "--certiscope", tmp_path / "broken"), "does not run: no good", out)


def test_pictures_that_do_not_fit_are_refused_by_name_before_anything_is_trained(good, tmp_path):
    out = tmp_path / "bundle"
    words = asking_with_program(good, out)
    for name in ("leer.png", "text.png"):
        (good / name).write_text("" if name == "leer.png" else "no picture")
    line = refused(words, "2 of 46 cannot be read", out)
    assert "leer.png" in line and "text.png" in line
    for name in ("leer.png", "text.png"):
        (good / name).unlink()
    good_part(np.random.default_rng(5)).resize((20, 20)).save(good / "klein.png")
    assert "klein.png" in refused(words, "1 of 20x20", out)
    good_part(np.random.default_rng(5)).convert("RGB").save(good / "klein.png")
    assert "klein.png" in refused(words, "1 coloured", out)


def test_too_few_parts_are_refused_with_the_number_that_is_needed(good, tmp_path):
    out = tmp_path / "bundle"
    for n in range(10):
        (good / f"Stück {n}.png").unlink()
    refused(asking_with_program(good, out), "34 pictures of 34 different parts: too few; at least 40", out)
    rng = np.random.default_rng(3)
    one = good_part(rng)
    for n in range(10):
        one.save(good / f"Stück {n}.png")  # ten pictures of one part
    line = refused(asking_with_program(good, out), "44 pictures of 35 different parts: too few", out)
    assert "--part-from" in line


def test_other_options_out_of_reach_are_refused(good, tmp_path):
    out = tmp_path / "bundle"
    refused(asking_with_program(good, out, "--radius", 40), "learn.radius = 40.0", out)
    refused(asking_with_program(good, out, "--part-from", "("), "no regular expression", out)
    refused(asking_with_program(good, out, "--device", "cuda:77"), "no GPU", out)
    refused(asking_with_program(good, good / "bundle"), "within", good / "bundle")
    out.mkdir()
    refused(asking_with_program(good, out), "is there already")


def test_defects_that_fit_nothing_are_refused_by_name(good, defects, tmp_path):
    out = tmp_path / "bundle"
    words = asking_with_program(good, out, "--defects", defects)
    shutil.copy(good / "Stück 3.png", defects / "hole" / "x.png")
    assert "hole/x.png (good: Stück 3.png)" in refused(words, "among the good ones too", out)
    (defects / "hole" / "x.png").unlink()
    Image.new("L", (40, 32)).save(defects / "crack" / "9_mask.png")
    assert "9_mask.png" in refused(words, "1 masks fit no picture", out)
    (defects / "crack" / "9_mask.png").unlink()
    Image.new("L", (20, 20)).save(defects / "crack" / "1_mask.png")
    Image.new("L", (40, 32)).save(defects / "hole" / "1_mask.png")
    line = refused(words, "2 masks cannot be used", out)
    assert "crack/1_mask.png: 20x20 px" in line and "hole/1_mask.png: nothing in it is white" in line
    for kind in ("crack", "hole"):
        (defects / kind / "1_mask.png").unlink()
    (defects / "good").mkdir()
    good_part(np.random.default_rng(9)).save(defects / "good" / "1.png")
    refused(words, "holds a folder `good`", out)


# ---- the whole way


def contents(bundle):
    """What must be the same of two bundles: all but dates, times, and what was measured of this machine."""
    table = tomllib.loads((bundle / "bundle.toml").read_text())
    for section, name in (("provenance", "minutes"), ("provenance", "trained_at"), ("calibration", "calibrated_at")):
        table[section].pop(name)
    same = ("model.onnx", "golden.safetensors", "maps.safetensors", "scores.json", "scores.svg")
    return table, {name: (bundle / name).read_bytes() for name in same}


KILLED = """
import os, signal
from certiscope_models.learn.progress import Progress
begin, at, seen = Progress.begin, Progress.at, {{"name": None, "moves": 0}}
def first(self, name, words):
    seen.update(name=name, moves=0)
    begin(self, name, words)
    if name == {stage!r} and {moves} == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def then(self, share):
    at(self, share)
    seen["moves"] += 1
    if seen["name"] == {stage!r} and seen["moves"] == {moves}:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.begin, Progress.at = first, then
"""


def test_killed_in_each_stage_and_typed_again_it_ends_with_the_same_bundle(good, defects, tmp_path):
    straight, killed = tmp_path / "a" / "bundle", tmp_path / "b" / "bundle"
    straight.parent.mkdir()
    killed.parent.mkdir()
    ended = as_process(asking_with_program(good, straight, "--defects", defects))
    assert ended.returncode == 0, ended.stderr
    words = asking_with_program(good, killed, "--defects", defects)
    for stage in STAGES:
        # in the middle where a stage moves the bar, and before its record everywhere
        moves = {"look": 20, "training": STEPS - 1, "choose": 5, "export": 2}.get(stage, 0)
        ended = as_process(words, KILLED.format(stage=stage, moves=moves))
        assert ended.returncode == -signal.SIGKILL, (stage, ended.stderr)
        assert not killed.exists()
        state = json.loads((work.folder_of(killed) / "state.json").read_text())
        assert list(state["done"]) == list(STAGES)[: list(STAGES).index(stage)]
    ended = as_process(words)
    assert ended.returncode == 0 and "goes on with: page" in ended.stdout, ended.stderr
    assert contents(killed) == contents(straight)
    again = as_process(words)
    assert again.returncode == 0 and contents(killed) == contents(straight)

    # and what a person finds in it
    page = (straight / "learned.html").read_text()
    assert 'src="http' not in page and "<script" not in page and "St\u00fcck" in page
    assert page.count("data:image/jpeg;base64,") >= 20
    for words in (
        "threshold",
        "What a station will cost",
        "What to do next",
        "real defects, hole: anomalous, abstain, normal",
        "ms</b>",
    ):
        assert words in page, words
    card = (straight / "README.md").read_text()
    assert "learn --budget standard --seed 1" in card and "44 pictures of 44 different good parts" in card
    table = tomllib.loads((straight / "bundle.toml").read_text())
    assert table["version"] == 1 and table["name"] == "bundle" and table["calibration"]["false_alarm_rate"] == 0.1
    sides = json.loads((work.folder_of(straight) / "pictures" / "split.json").read_text())
    parts = {side: {row["group"] for row in sides[side]} for side in ("fit", "choose", "threshold")}
    assert not parts["fit"] & parts["choose"] and not parts["threshold"] & (parts["fit"] | parts["choose"])
    assert table["calibration"]["threshold_groups"] == len(parts["threshold"])


def test_other_pictures_or_options_than_those_it_began_with_are_refused(good, tmp_path):
    folder = work.folder_of(tmp_path / "bundle")
    pictures = {"good": {"a.png": "1", "b.png": "2", "c.png": "3"}}
    first = work.Work(folder, {"seed": 1}, pictures)
    first.finish("look", {})
    first.leave()
    with pytest.raises(Refused, match="learn.seed = 2: the work in .* began with 1"):
        work.Work(folder, {"seed": 2}, pictures)
    changed = {"good": {"a.png": "1", "b.png": "4", "d.png": "5"}}
    words = r"learn.good: not the pictures .*: 1 new \(d.png\), 1 missing \(c.png\), 1 changed \(b.png\)"
    with pytest.raises(Refused, match=words):
        work.Work(folder, {"seed": 1}, changed)
    again = work.Work(folder, {"seed": 1}, pictures)
    assert again.resumed and again.done == {"look": {}}
    again.leave()
    (folder / "state.json").write_text("{")
    with pytest.raises(Refused, match="not written by this version"):
        work.Work(folder, {"seed": 1}, pictures)


def test_an_odd_picture_is_named_and_left_out_if_asked(good, tmp_path):
    """A blurred one and a dark one among 44; the command is ended as soon as it has looked."""
    good_part(np.random.default_rng(7), smooth=True).save(good / "unscharf.png")
    Image.fromarray((np.asarray(Image.open(good / "Stück 1.png")) // 12).astype(np.uint8)).save(good / "dunkel.png")
    words = asking_with_program(good, tmp_path / "bundle")
    stop = KILLED.format(stage="sort", moves=0)
    ended = as_process(words, stop)
    said = next(line for line in ended.stderr.splitlines() if "odd pictures" in line)
    assert "learn: 2 odd pictures among the good, learned as good" in said
    assert "unscharf.png: blurred" in said and "dunkel.png: darker" in said
    state = work.folder_of(tmp_path / "bundle") / "state.json"
    names = {row["file"] for side in json.loads(state.read_text())["done"]["look"]["sides"].values() for row in side}
    assert {"unscharf.png", "dunkel.png"} <= names
    shutil.rmtree(state.parent)
    ended = as_process([*words, "--leave-out-odd"], stop)
    assert "left out" in ended.stderr
    names = {row["file"] for side in json.loads(state.read_text())["done"]["look"]["sides"].values() for row in side}
    assert len(names) == 44 and not {"unscharf.png", "dunkel.png"} & names


def test_two_of_them_never_work_in_one_folder(good, tmp_path):
    folder = work.folder_of(tmp_path / "bundle")
    held = work.Work(folder, {}, {})
    refused_words = "another learn works in it"
    try:
        refused(asking_with_program(good, tmp_path / "bundle"), refused_words)
    finally:
        held.lock.close()


def test_a_full_disk_is_said_and_the_work_goes_on_later(good, tmp_path):
    with small_disk(tmp_path / "small", 3) as small:
        words = asking_with_program(good, small / "bundle")
        ended = as_process(words)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
        assert "No space left" in ended.stderr or "cannot be written" in ended.stderr, ended.stderr
        assert not (small / "bundle").exists()
        subprocess.run(["mount", "-o", "remount,size=40m", small], check=True)
        ended = as_process(words)
        assert ended.returncode == 0 and (small / "bundle" / "learned.html").exists(), ended.stderr
