"""Pictures that do not belong together are refused before anything is made of them, in every command."""

import json
import re
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from certiscope_models import Refused
from certiscope_models.__main__ import main
from certiscope_models.picture_set import PictureSet
from certiscope_models.training import Training

MODEL = "--size 16 --channels 1 --base 8 --multipliers 1,2 --no-attention --threads 1 --batch 2"


def grey(n, height=32, width=40, top=255, dtype=np.uint8):
    return np.random.default_rng(n).integers(0, top + 1, (height, width)).astype(dtype)


def save(folder, name, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture
def good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(6):
        save(tmp_path / "good", f"{n}.png", grey(n))
    return tmp_path / "good"


def run(monkeypatch, line):
    monkeypatch.setattr("sys.argv", ["certiscope_models", *line.split()])
    main()


def require(files, **settings):
    read = PictureSet(**settings)
    read.inputs(sorted(files), 1, 16, 16)
    read.require_one_kind()
    return read


def odd_one(good, kind):
    """Adds to six grey pictures of 32x40 and 8 bits one that does not belong to them."""
    twice = np.repeat(grey(9)[..., None], 3, axis=2)
    return {
        "size": lambda: save(good, "odd.png", grey(9, 64, 80)),
        "aspect": lambda: save(good, "odd.png", grey(9, 32, 48)),
        "turned": lambda: save(good, "odd.png", grey(9, 40, 32)),
        "colour": lambda: save(good, "odd.png", twice),
        "depth": lambda: save(good, "odd.png", grey(9, top=65535, dtype=np.uint16)),
        "broken": lambda: (good / "odd.png").write_bytes((good / "0.png").read_bytes()[:-40]),
        "empty": lambda: (good / "odd.png").write_bytes(b""),
    }[kind]()


WORDS = {
    "size": "6 of 40x32 .*0.png., 1 of 80x64 .*odd.png.*--mixed-sizes",
    "aspect": "6 of 40x32 .*0.png., 1 of 48x32 .*odd.png",
    "turned": "6 of 40x32 .*0.png., 1 of 32x40 .*odd.png",
    "colour": "6 grey .*0.png., 1 coloured .*odd.png.*not from one camera",
    "depth": "6 of 8 bits .*0.png., 1 of 16 bits .*odd.png",
    "broken": "odd.png .*cut off",
    "empty": "odd.png .*it is empty",
}


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("command", ["split --data good --out split", f"train --data good --out run --steps 1 {MODEL}"])
def test_one_picture_that_does_not_belong_refuses_the_set(good, monkeypatch, kind, command):
    odd_one(good, kind)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, command)
    assert re.search(WORDS[kind], stopped.value.code), stopped.value.code
    assert not (good.parent / "split").exists() and not (good.parent / "run").exists()


@pytest.fixture
def trained(good, monkeypatch):
    run(monkeypatch, f"train --data good --out run --steps 1 {MODEL}")
    return good.parent / "run"


EXPORT = "export --run run --name a --k 60 --sigma 0.05 --draws 2 --trained-on noise --out bundle --held-back"


@pytest.mark.parametrize("command", ["search --run run --k 25 --draws 2 --threads 1 --held-back", EXPORT])
def test_pictures_unlike_those_of_the_training_are_refused(trained, monkeypatch, command):
    other = trained.parent / "other"
    for n in range(3):
        save(other, f"{n}.png", grey(n, 48, 64))
    with pytest.raises(SystemExit, match="64 px wide: the run was trained on 40|3 of 64x48"):
        run(monkeypatch, f"{command} other")
    for n in range(3):
        save(other, f"{n}.png", grey(n, top=65535, dtype=np.uint16))
    with pytest.raises(SystemExit, match="16 bits"):
        run(monkeypatch, f"{command} other")
    assert not (trained.parent / "bundle").exists()


def test_held_back_pictures_of_another_size_are_refused_before_training(good, monkeypatch):
    save(good.parent / "behind", "0.png", grey(0, 64, 64))
    with pytest.raises(SystemExit, match="6 of 40x32 .*1 of 64x64"):
        run(monkeypatch, f"train --data good --held-back behind --out run --steps 1 {MODEL}")
    assert not (good.parent / "run").exists()


def test_every_file_that_cannot_be_read_is_named(good):
    for n in (1, 4):
        (good / f"{n}.png").write_bytes(b"")
    (good / "7.jpg").write_bytes(b"RIFF....WEBPVP8 ")
    with pytest.raises(Refused, match="3 of 7 cannot be read.*1.png .*empty; .*4.png .*empty; .*7.jpg .*WebP"):
        require(good.iterdir())


def test_mixed_sizes_can_be_insisted_on(good, monkeypatch):
    odd_one(good, "size")
    run(monkeypatch, "split --data good --out split --mixed-sizes --held-back 0.4")
    run(monkeypatch, f"train --data split/fit --held-back split/held-back --out run --steps 1 --mixed-sizes {MODEL}")
    run(monkeypatch, "search --run run --k 25 --draws 2 --threads 1 --held-back good")
    run(monkeypatch, f"{EXPORT} good")
    table = tomllib.loads((good.parent / "bundle" / "bundle.toml").read_text())
    assert "--mixed-sizes" in table["provenance"]["command"]


@pytest.mark.parametrize("top, scale", [(200, 255), (1000, 1023), (1023, 1023), (4000, 4095), (16383, 16383)])
def test_sixteen_bits_that_use_a_fraction_of_their_range_are_refused_with_the_cure(tmp_path, top, scale):
    for n in range(3):
        save(tmp_path, f"{n}.png", grey(n, top=top, dtype=np.uint16))
    with pytest.raises(Refused, match=f"16 bits, and no sample is above {top} .*--full-scale {scale},"):
        require(tmp_path.iterdir())
    assert require(tmp_path.iterdir(), full_scale=scale).kind()["bits"] == 16
    require(tmp_path.iterdir(), full_scale=65535)


def test_one_bright_picture_makes_a_set_of_sixteen_bits_whole(tmp_path):
    save(tmp_path, "0.png", grey(0, top=900, dtype=np.uint16))
    save(tmp_path, "1.png", grey(1, top=65535, dtype=np.uint16))
    require(tmp_path.iterdir())


def test_a_full_scale_that_cannot_be_is_refused(tmp_path):
    save(tmp_path, "0.png", grey(0, top=4095, dtype=np.uint16))
    with pytest.raises(Refused, match="full-scale = 1023: 1 of 1 pictures have larger samples, up to 40.."):
        require(tmp_path.iterdir(), full_scale=1023)
    for scale in (0, -1, 254, 65536):
        with pytest.raises(Refused, match="255 to 65535 is allowed"):
            PictureSet(full_scale=scale)
    save(tmp_path, "0.png", grey(0))
    with pytest.raises(Refused, match="the pictures have 8 bits"):
        require(tmp_path.iterdir(), full_scale=4095)


def test_the_full_scale_goes_from_the_training_into_the_bundle(tmp_path, monkeypatch):
    """Pictures of 12 bits in 16 train the very model that the same pictures train when they fill the 16 bits."""
    monkeypatch.chdir(tmp_path)
    for n in range(6):
        twelve = grey(n, top=4095, dtype=np.uint16)
        twelve[0, 0] = 4095
        save(tmp_path / "twelve", f"{n}.png", twelve)
        save(tmp_path / "whole", f"{n}.png", (twelve.astype(np.float64) / 4095 * 65535).round().astype(np.uint16))
    with pytest.raises(SystemExit, match="--full-scale 4095"):
        run(monkeypatch, f"train --data twelve --out run --steps 2 {MODEL}")
    run(monkeypatch, f"train --data twelve --out run --steps 2 --full-scale 4095 {MODEL}")
    run(monkeypatch, f"train --data whole --out other --steps 2 {MODEL}")
    ours, other = (Training.load(tmp_path / name / "checkpoint.pt") for name in ("run", "other"))
    assert ours.recipe.full_scale == 4095 and "--full-scale" not in str(other.recipe)
    for name, weight in ours.ema.items():
        torch.testing.assert_close(weight, other.ema[name], atol=1e-5, rtol=1e-3)
    run(monkeypatch, "search --run run --k 25 --draws 2 --threads 1 --held-back twelve")
    run(monkeypatch, f"{EXPORT} twelve")
    table = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert table["input"]["full_scale"] == 4095 and "--full-scale 4095" in table["provenance"]["command"]
    run(monkeypatch, EXPORT.replace("--run run", "--run other").replace("bundle", "second") + " whole")
    assert "full_scale" not in tomllib.loads((tmp_path / "second" / "bundle.toml").read_text())["input"]
    with pytest.raises(SystemExit, match="trained with 4095"):
        run(monkeypatch, f"{EXPORT} twelve --full-scale 1023")


def test_a_cache_does_not_hide_what_has_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(4):
        save(tmp_path / "good", f"{n}.png", grey(n, top=4095, dtype=np.uint16))
    line = f"train --data good --out run --full-scale 4095 {MODEL}"
    run(monkeypatch, f"{line} --steps 1")
    before = np.load("run/fit.npy")
    with pytest.raises(SystemExit, match="full-scale = 16383: the run has 4095"):
        run(monkeypatch, f"train --data good --out run --full-scale 16383 --steps 2 --resume {MODEL}")
    # another full scale in the record: as if the cache came from an earlier setting
    record = json.loads((tmp_path / "run" / "fit.json").read_text())
    (tmp_path / "run" / "fit.json").write_text(json.dumps({**record, "full_scale": 16383}))
    np.save("run/fit.npy", before / 4)
    with pytest.raises(SystemExit, match="cache: .*fit.npy: read with full scale 16383, the run has 4095"):
        run(monkeypatch, "search --run run --k 25 --draws 2 --threads 1 --held-back good")
    run(monkeypatch, f"{line} --steps 2 --resume")
    np.testing.assert_array_equal(np.load("run/fit.npy"), before)
    # another picture under an old name
    save(tmp_path / "good", "2.png", grey(77, top=4095, dtype=np.uint16))
    run(monkeypatch, f"{line} --steps 3 --resume")
    after = np.load("run/fit.npy")
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all() and (after[2] != before[2]).any()
    # a picture that has become another kind is seen although the rest comes from the cache
    save(tmp_path / "good", "2.png", grey(77))
    with pytest.raises(SystemExit, match="3 of 16 bits.*1 of 8 bits"):
        run(monkeypatch, f"{line} --steps 4 --resume")


def test_a_resumed_run_uses_its_cache(good, trained, monkeypatch):
    from certiscope_models import picture_set

    monkeypatch.setattr(picture_set, "read_picture", lambda file: pytest.fail(f"{file} was read again"))
    run(monkeypatch, f"train --data good --out run --steps 2 --resume {MODEL}")


def test_grey_pictures_are_refused_where_the_model_takes_colour(good, monkeypatch):
    with pytest.raises(SystemExit, match="grey, and the model takes colour"):
        run(monkeypatch, f"train --data good --out run --steps 1 {MODEL.replace('--channels 1', '--channels 3')}")
