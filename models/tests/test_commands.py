"""The commands as a person types them, from pictures to a bundle."""

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from needs import small_disk
from PIL import Image

from certiscope_models.__main__ import main, parser

MODELS = Path(__file__).parents[1]
OPTIONS = Path(__file__).parent / "fixtures" / "options.json"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(8):
        Image.fromarray(rng.integers(0, 255, (32, 40, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    return folder


def run(monkeypatch, line):
    monkeypatch.setattr("sys.argv", ["certiscope_models", *str(line).split()])
    main()


def test_split_train_search_export(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "split --data good --out split --held-back 0.4")
    assert "5 fit, 3 held back, 8 groups" in capsys.readouterr().out
    model = "--size 16 --channels 1 --base 8 --multipliers 1,2 --no-attention --threads 1"
    run(monkeypatch, f"train --data split/fit --held-back split/held-back --out run --steps 2 --batch 2 {model}")
    run(monkeypatch, "search --run run --held-back split/held-back --k 25,50 --draws 6 --threads 1")
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == 2 * 16 and all("at r = 0.0072" in row for row in rows)
    run(
        monkeypatch,
        "export --run run --held-back split/held-back --name line --k 60 --sigma 0.05 --draws 4 --top-pixels 3"
        " --head-weight 0.8 --trained-on noise --out bundle",
    )
    assert "now `certiscope calibrate`" in capsys.readouterr().out
    table = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert table["name"] == "line" and "calibration" not in table
    assert table["score"]["top_pixels"] == 3 and table["score"]["head_weight"] == 0.8
    found = table["provenance"]
    assert (found["data"], found["steps"], found["images"], found["groups"]) == ("noise", 2, 5, 5)


REFUSED = [
    ("train --data nowhere --out run --steps 1", "no such folder"),
    ("train --data good --out run --steps 1 --height 16 --width 20", "architecture.width = 20"),
    ("train --data good --out run --steps 1 --resume", "not there"),
    ("train --data good --held-back nowhere --out run --steps 1 --size 16", "no such folder"),
    ("train --data good --out run --steps 1 --begin-with nowhere", "not there"),
    ("split --data good --out split --held-back 1.5", "split.held_back = 1.5"),
    ("split --data good --out split --held-back 0.01", "one side is empty"),
    ("search --run nowhere --held-back good", "not there"),
    ("export --run run --held-back good --name a --k 10 --sigma 0.1 --trained-on b --out c", "detector.sigma = 0.1"),
    ("export --run run --held-back good --name a --k 10 --sigma 0.01 --trained-on b --out c", "not there"),
    ("ablate --table nowhere.toml --fit good --held-back good --test good --out runs", "cannot be read"),
]


def everything_below(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("line, words", REFUSED)
def test_a_refusal_is_one_line_and_writes_nothing(pictures, tmp_path, monkeypatch, capsys, line, words):
    monkeypatch.chdir(tmp_path)
    before = everything_below(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, line)
    # Python prints an exit code that is a text on stderr, and ends with status 1.
    assert isinstance(stopped.value.code, str) and words in stopped.value.code and "\n" not in stopped.value.code
    assert capsys.readouterr().out == ""
    assert everything_below(tmp_path) == before


def test_a_refusal_ends_the_process_with_status_1(pictures, tmp_path):
    line, words = REFUSED[5]
    ended = subprocess.run(
        [sys.executable, "-m", "certiscope_models", *line.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(MODELS)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert words in ended.stderr and ended.stderr.count("\n") == 1


def test_a_run_that_is_there_is_refused_and_left_as_it_is(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = "--size 16 --base 8 --multipliers 1,2 --no-attention"
    line = f"train --data good --out run --steps 1 --batch 2 {model} --threads 1"
    run(monkeypatch, line)
    before = everything_below(tmp_path)
    with pytest.raises(SystemExit, match="holds a checkpoint"):
        run(monkeypatch, line)
    assert everything_below(tmp_path) == before


def test_the_options_and_their_defaults_are_those_that_scripts_rely_on():
    """tests/fixtures/options.json holds every option of the commands that had been released when it was written."""
    (commands,) = (action.choices for action in parser()._actions if hasattr(action, "choices") and action.choices)
    for name, wanted in json.loads(OPTIONS.read_text()).items():
        command = commands[name]
        found = {}
        for action in command._actions:
            if action.dest == "help":
                continue
            choices, default = (list(v) if isinstance(v, tuple) else v for v in (action.choices, action.default))
            found[action.dest] = {
                "flags": action.option_strings,
                "default": default,
                "required": action.required,
                "nargs": action.nargs,
                "choices": choices,
                "type": getattr(action.type, "__name__", None),
                "action": type(action).__name__.strip("_"),
            }
        assert found == wanted["flags"], name
        groups = command._mutually_exclusive_groups
        assert [[action.dest for action in group._group_actions] for group in groups] == wanted["exclusive"]


def test_there_are_these_commands_and_each_has_help():
    (commands,) = (action.choices for action in parser()._actions if hasattr(action, "choices") and action.choices)
    assert set(commands) == {"learn", "split", "train", "search", "export", "ablate"}
    for name, command in commands.items():
        assert "--" in command.format_help() and name in command.format_usage()


def as_process(line, folder, **settings):
    """The command as a process, without output of its own to a terminal."""
    words = f"{sys.executable} -B -m certiscope_models {line}"
    environment = {**os.environ, "PYTHONPATH": str(MODELS)}
    return subprocess.run(["sh", "-c", words], cwd=folder, env=environment, capture_output=True, text=True, **settings)


MODEL = "--size 16 --base 8 --multipliers 1,2 --no-attention --threads 1 --batch 2"


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2>&1 | head -c 1"])
def test_progress_that_nobody_can_read_does_not_end_a_training(pictures, tmp_path, stderr):
    (tmp_path / "good" / "notes.txt").touch()
    ended = as_process(f"train --data good --out run --steps 2 {MODEL} {stderr}", tmp_path)
    assert ended.returncode == 0 and (tmp_path / "run" / "checkpoint.pt").exists(), ended.stderr


def test_a_table_whose_reader_has_seen_enough_ends_quietly(pictures, tmp_path):
    assert as_process(f"train --data good --out run --steps 1 {MODEL}", tmp_path).returncode == 0
    search = "search --run run --held-back good --k 25,50 --draws 2 --threads 1"
    ended = as_process(f"{search} | true", tmp_path)
    assert "Traceback" not in ended.stderr and "Broken pipe" not in ended.stderr
    ended = as_process(f"{search} >/dev/full", tmp_path)
    assert ended.returncode == 1 and ended.stderr.endswith("search: No space left on device\n"), ended.stderr
    assert as_process(f"{search} >&-", tmp_path).returncode == 0


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(pictures, tmp_path):
    with small_disk(tmp_path / "small", 2) as small:
        line = f"train --data good --out small/run {MODEL}"
        assert as_process(f"{line} --steps 1", tmp_path).returncode == 0
        before = (small / "run" / "checkpoint.pt").read_bytes()
        with open(small / "foreign", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        ended = as_process(f"{line} --steps 2 --resume", tmp_path)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
        assert "cannot be written" in ended.stderr or "No space left" in ended.stderr
        assert (small / "run" / "checkpoint.pt").read_bytes() == before
        (small / "foreign").unlink()
        assert as_process(f"{line} --steps 2 --resume", tmp_path).returncode == 0


def test_an_odd_name_in_a_refusal_stays_on_one_line(pictures, tmp_path):
    (tmp_path / "good" / "a\nb\x1b[2J.png").touch()
    ended = as_process("split --data good --out split", tmp_path)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "a\\nb\\x1b[2J.png (0 bytes): cannot be read: it is empty" in last
