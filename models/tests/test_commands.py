"""The commands as a person types them, from pictures to a bundle."""

import tomllib

import numpy as np
import pytest
from PIL import Image

from certiscope_models.__main__ import main


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


@pytest.mark.parametrize(
    "line, words",
    [
        ("train --data nowhere --out run --steps 1", "no PNG or JPEG"),
        ("train --data good --out run --steps 1 --size 20", "architecture.size = 20"),
        ("train --data good --out run --steps 1 --resume", "not there"),
        ("split --data good --out split --held-back 1.5", "split.held_back = 1.5"),
        (
            "export --run run --held-back good --name a --k 10 --sigma 0.1 --trained-on b --out c",
            "detector.sigma = 0.1",
        ),
    ],
)
def test_refusals_are_one_line_and_a_failure(pictures, tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, line)
    assert words in str(stopped.value.code) and "\n" not in str(stopped.value.code)
