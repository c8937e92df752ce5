"""Hold-back by group: near-identical pictures never land on two sides."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from needs import skip
from PIL import Image

from certiscope_models import Refused
from certiscope_models.__main__ import main
from certiscope_models.grouping import fine_structure, fingerprint, groups_of, split
from certiscope_models.preprocess import as_input, decode

GOLDEN = Path(__file__).parents[2] / "tests/golden/parts.json"


@pytest.fixture
def line(tmp_path):
    """A folder of 8 parts, each photographed three times under other exposures."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "good"
    folder.mkdir()
    for part in range(8):
        texture = rng.random((64, 64))
        for shot, gain in enumerate((120, 160, 200)):
            pixels = texture * gain + rng.normal(0, 2, texture.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{shot}_{part}.png")
    return folder


def part_of(row):
    return row["file"].split("_")[1]


@pytest.mark.parametrize("seed", range(5))
def test_no_part_is_on_both_sides(line, tmp_path, seed):
    record = split(line, tmp_path / "out", 0.3, seed)
    fit, behind = ({part_of(row) for row in record[side]} for side in ("fit", "held-back"))
    assert fit and behind and not fit & behind
    assert fit | behind == {f"{part}.png" for part in range(8)}
    assert len(record["fit"]) + len(record["held-back"]) == 24
    assert len(record["held-back"]) <= 0.3 * 24
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == record
    for side in ("fit", "held-back"):
        for row in record[side]:
            assert (tmp_path / "out" / side / row["file"]).read_bytes() == (line / row["file"]).read_bytes()


def made_up(seed):
    """A texture [64, 64] from 0 to 1 that Rust's test makes in the same way."""
    value = np.arange(4096, dtype=np.uint64) + np.uint64(seed * 4096)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        value = ((value ^ (value >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return (value / 2.0**32).reshape(64, 64)


def pictures_of(case):
    """The thumbnails of a case of parts.json: textures of product, kind and part; other light and noise each time."""
    for shot, part in enumerate(case["parts"]):
        shown = 0.2 + case["product"] * made_up(1) + case["own"] * made_up(100 + part)
        shown += case["kind"] * made_up(2 + part % 2)
        picture = (0.7 + 0.1 * (shot % 4)) * shown + case["noise"] * made_up(10_000 + shot)
        yield picture[None].astype(np.float32)


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=lambda case: case["name"])
def test_the_groups_are_those_that_rust_finds(case):
    assert groups_of(np.stack([fine_structure(it) for it in pictures_of(case)])) == case["groups"]


def data(name):
    folder = Path(os.environ.get("CERTISCOPE_SHARED_DATA", "shared/data")) / name
    if not folder.is_dir():
        skip("photographs", f"{folder} is missing")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    "name, allowed",
    [
        ("mvtec-ad/bottle/train/good", range(208, 210)),
        ("mvtec-ad/pill/train/good", range(267, 268)),
        ("mvtec-ad/transistor/train/good", range(213, 214)),
        ("magnetic-tile/train/good", range(357, 394)),  # within 5 % of 375
    ],
)
def test_parts_of_real_products_are_counted(name, allowed):
    assert max(groups_of([fingerprint(file) for file in data(name)])) + 1 in allowed


@pytest.mark.parametrize("parts", [1, 10, 40])
@pytest.mark.parametrize("times", [2, 10])
def test_real_bottles_photographed_again_are_one_part_each(parts, times):
    """Under other exposures, with noise, moved by a pixel of 320. A single bottle is one part up to ten pictures."""
    rng, found = np.random.default_rng(1), []
    for file in data("mvtec-ad/bottle/train/good")[:parts]:
        original = decode(file)
        for _ in range(times):
            picture = np.roll(original, rng.integers(0, 2, 2), (1, 2)) * rng.uniform(0.75, 1.15)
            picture = (picture + rng.normal(0, 2 / 255, picture.shape)).clip(0, 1).astype(np.float32)
            found.append(fine_structure(as_input(picture, 1, 64, 64)))
    assert groups_of(found) == [part for part in range(parts) for _ in range(times)]


def test_pictures_without_structure_are_one_part_and_like_no_other(tmp_path):
    pictures = [np.full((48, 80), grey, np.uint8) for grey in (0, 127, 255)]
    speck = np.full((512, 512), 127, np.uint8)
    speck[200, 300] += 1
    for n, picture in enumerate([*pictures, speck]):
        Image.fromarray(picture).save(tmp_path / f"{n}.png")
    assert groups_of(np.stack([fingerprint(f) for f in sorted(tmp_path.iterdir())])) == [0, 0, 0, 1]


def test_one_group_alone_cannot_be_split(tmp_path):
    (tmp_path / "good").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for n in range(4):
        Image.fromarray(pixels).save(tmp_path / "good" / f"{n}.png")
    with pytest.raises(Refused, match="4 pictures of 1 parts.*one side is empty.*--part-from"):
        split(tmp_path / "good", tmp_path / "out", 0.3, 1)


def test_names_tell_the_part_where_they_are_said_to(line, tmp_path):
    record = split(line, tmp_path / "by-name", 0.4, 1, part_from=r"^(\d)_")  # by the shot, against all looks
    shots = [{row["file"][0] for row in record[side]} for side in ("fit", "held-back")]
    assert sorted(map(len, shots)) == [1, 2] and not shots[0] & shots[1]
    for picture in sorted(line.iterdir()):
        (line / picture.name[0]).mkdir(exist_ok=True)
        picture.rename(line / picture.name[0] / picture.name)
    again = split(line, tmp_path / "by-folder", 0.4, 1, part_from="folder")
    assert [Path(row["file"]).name for row in again["fit"]] == [row["file"] for row in record["fit"]]


@pytest.mark.parametrize(
    "part_from, words",
    [
        ("(", "no regular expression"),
        ("_", "has no group"),
        (r"^(0)_", "does not match 1_0.png"),
        ("folder", "0_0.png: lies in no sub-folder"),
        (r"(\.png)", "24 pictures of 1 parts .by --part-from.*one side is empty"),
    ],
)
def test_names_that_do_not_tell_the_part_are_refused(line, tmp_path, part_from, words):
    with pytest.raises(Refused, match=words):
        split(line, tmp_path / "out", 0.3, 1, part_from=part_from)
    assert not (tmp_path / "out").exists()


STICKS = {"FAT": ("mkfs.vfat", "fusefat", "-o", "rw+"), "exFAT": ("mkfs.exfat", "mount.exfat-fuse")}


@pytest.fixture(params=STICKS)
def stick(request, tmp_path):
    """A USB stick: a real FAT or exFAT file system, which has no links and takes a.png and A.png for one name."""
    make, *through_fuse = STICKS[request.param]
    image, mounted = tmp_path / "stick.img", tmp_path / "stick"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * 2**20)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    device = None

    def does(*words):
        try:
            return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError) as error:
            failures.append(f"{words[0]}: {getattr(error, 'stderr', None) or error}".strip())
            return None

    failures = []
    if does(make, str(image)) is not None:
        device = does("losetup", "--find", "--show", str(image))
    kernel = {"FAT": "vfat", "exFAT": "exfat"}[request.param]
    done = device and (
        does("mount", "-t", kernel, device, str(mounted)) is not None
        or does(through_fuse[0], *through_fuse[1:], device, str(mounted)) is not None
    )
    if not done:
        if device:
            does("losetup", "--detach", device)
        pytest.skip(f"!!! SKIPPED: {request.param} cannot be made and mounted here: {'; '.join(failures)}")
    yield mounted
    does("umount", str(mounted))
    does("losetup", "--detach", device)


def test_a_file_system_without_links_gets_copies_and_this_is_said(line, stick, capsys, monkeypatch):
    monkeypatch.chdir(stick)
    (stick / "good").mkdir()
    for picture in line.iterdir():
        (stick / "good" / picture.name).write_bytes(picture.read_bytes())
    monkeypatch.setattr("sys.argv", ["certiscope_models", *"split --data good --out split --held-back 0.3".split()])
    main()
    assert "copied, because this file system has no links" in capsys.readouterr().out
    record = json.loads((stick / "split" / "split.json").read_text())
    assert not record["linked"]
    for side in ("fit", "held-back"):
        for row in record[side]:
            placed = stick / "split" / side / row["file"]
            assert not placed.is_symlink() and placed.read_bytes() == (line / row["file"]).read_bytes()
    try:
        for text in ("one\n", "two\n"):
            with open(stick / "log", "a") as log:
                log.write(text)
    except OSError:
        return  # fusefat, which stands in for a kernel without FAT, cannot append to a file
    model = "--size 16 --base 8 --multipliers 1,2 --no-attention --threads 1 --batch 2"
    for steps in ("--steps 1", "--steps 2 --resume"):  # the second replaces the checkpoint of the first
        words = f"train --data split/fit --held-back split/held-back --out run {steps} {model}"
        monkeypatch.setattr("sys.argv", ["certiscope_models", *words.split()])
        main()
    assert (stick / "run" / "checkpoint.pt").exists() and not (stick / "run" / "checkpoint.partial").exists()


@pytest.mark.parametrize("name", ["0_0.PNG", "a:b.png", "a\nb.png"])
def test_a_name_that_the_file_system_does_not_take_refuses_the_split_and_leaves_nothing(line, stick, name):
    (line / "sub").mkdir()
    for picture in line.glob("*.png"):
        picture.rename(line / "sub" / picture.name)
    shutil.copy(line / "sub" / "0_0.png", line / "sub" / name)  # of one group, so it goes to the same side
    with pytest.raises(Refused, match="cannot be written"):
        split(line, stick / "out", 0.3, 1)
    assert list(stick.iterdir()) == []
    split(line, line.parent / "out", 0.3, 1)


def test_odd_names_are_split_and_recorded(tmp_path):
    rng = np.random.default_rng(5)
    folder = tmp_path / "good"
    folder.mkdir()
    names = [
        b"plain.png",
        b"line\nbreak.png",
        b"no-utf8-\xff\xfe.png",
        b'quote".png',
        b"gr\xc3\xbc\xc3\x9f.png",
        b"-o.png",
    ]
    for name in names:
        pixels = rng.integers(0, 255, (64, 64), dtype=np.uint8)
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    record = split(folder, tmp_path / "out", 0.4, 1)
    assert json.loads((tmp_path / "out" / "split.json").read_text(encoding="ascii")) == record
    assert {os.fsencode(row["file"]) for side in ("fit", "held-back") for row in record[side]} == set(names)
    placed = {path.name for side in ("fit", "held-back") for path in (tmp_path / "out" / side).iterdir()}
    assert {os.fsencode(name) for name in placed} == set(names)


def test_a_split_within_its_own_pictures_or_over_half_of_one_is_refused(line, tmp_path):
    with pytest.raises(Refused, match="whose pictures are split"):
        split(line, line / "out", 0.3, 1)
    assert not (line / "out").exists()
    (tmp_path / "out" / "fit").mkdir(parents=True)
    with pytest.raises(Refused, match="was not finished"):
        split(line, tmp_path / "out", 0.3, 1)


def test_pictures_below_a_linked_folder_are_split_too(line, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(line)
    record = split(tmp_path / "data", tmp_path / "out", 0.3, 1)
    assert len(record["fit"]) + len(record["held-back"]) == 24 and record["linked"]
    for side in ("fit", "held-back"):
        for row in record[side]:
            placed, source = tmp_path / "out" / side / row["file"], tmp_path / "data" / row["file"]
            assert placed.read_bytes() == source.read_bytes()
