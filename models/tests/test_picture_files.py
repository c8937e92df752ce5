"""The walk of a folder: what is a picture, what is left out, and that both are said."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from certiscope_models import Refused
from certiscope_models.output import printable
from certiscope_models.picture_files import SUFFIXES, Walk, left_out_in_words, picture_files

REPOSITORY = Path(__file__).parents[2]


def made(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def found(folder):
    return [path.relative_to(folder).as_posix() for path in picture_files(folder)]


def test_the_same_files_count_as_pictures_as_in_rust(tmp_path):
    lists = [
        {f".{name}" for name in re.findall(r'"(\w+)"', listed)}
        for source in (REPOSITORY / "src").rglob("*.rs")
        for listed in re.findall(r'\[(\s*"\w+"(?:,\s*"\w+")*,?\s*)\]', source.read_text())
        if '"png"' in listed and '"bmp"' in listed
    ]
    assert lists and all(names == SUFFIXES for names in lists)
    pictures = ["a.PNG", "b/c.Jpg", "d.jpeg", "e.bmp", "f.BMP", "g.jfif", "h.JPE", "i.tif", "j.TIFF", "k.dib"]
    made(tmp_path, *pictures, "l.gif", "m.txt", "bmp", "n.png.txt", "o.png~")
    assert found(tmp_path) == pictures


def test_links_are_followed_and_a_circle_ends(tmp_path):
    made(tmp_path, "line/one.png", "elsewhere/two.bmp", "elsewhere/deep/three.png", "blob")
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").symlink_to(tmp_path / "line")
    (data / "b").symlink_to("../elsewhere")
    (data / "again").symlink_to(tmp_path / "line")  # the same folder once more: its pictures count once
    (tmp_path / "elsewhere" / "round").symlink_to(data)
    (data / "self").symlink_to("self")
    (data / "four.png").symlink_to(tmp_path / "blob")
    assert found(data) == ["a/one.png", "b/deep/three.png", "b/two.bmp", "four.png"]


def test_hidden_files_and_masks_are_left_out(tmp_path, capsys):
    made(tmp_path, "good/1.png", "good/._1.png", ".trash/2.png", "ground_truth/crack/1.png", ".DS_Store")
    assert found(tmp_path) == ["good/1.png"]
    assert capsys.readouterr().err == ""


def test_what_is_left_out_is_counted_by_extension_and_said_once(tmp_path, capsys):
    made(tmp_path, "1.png", "a.webp", "b/b.WEBP", "c.txt", "README")
    os.mkfifo(tmp_path / "pipe.png")
    picture_files(tmp_path)
    line = f"{tmp_path}: 5 files left out: 2 .webp, 1 .txt, 1 not an ordinary file, 1 without extension\n"
    assert capsys.readouterr().err == line
    picture_files(tmp_path)
    assert capsys.readouterr().err == ""


def test_the_line_of_what_is_left_out_stays_short():
    words = left_out_in_words({f".{number:06}": 1 for number in range(100_000)})
    assert len(words) < 200 and words.endswith(", 99992 others")


def test_a_folder_without_pictures_says_what_is_there_instead(tmp_path):
    with pytest.raises(Refused, match="no PNG, JPEG, BMP or TIFF in it; no file is in it or below it"):
        picture_files(tmp_path)
    made(tmp_path, "a.webp", ".b.png", "ground_truth/c.png")
    with pytest.raises(Refused, match="found: 1 file left out: 1 .webp, 1 hidden, the masks in ground_truth"):
        picture_files(tmp_path)
    with pytest.raises(Refused, match="nowhere: no such folder"):
        picture_files(tmp_path / "nowhere")


def test_a_link_that_leads_nowhere_is_a_picture_that_cannot_be_read(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "gone")
    assert found(tmp_path) == ["1.png"]


def test_a_deep_tree_is_walked_to_its_end(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):  # a path of this length can still be opened as a whole
        os.mkdir("d", dir_fd=at)
        deeper = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(os.open("deep.png", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    try:
        assert Walk(tmp_path).files == [folder / "deep.png"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest's own cleaning recurses, and would fail


def test_an_odd_name_is_printed_on_one_line():
    assert printable("a\nb\x1b[2J\udcff ü") == "a\\nb\\x1b[2J\\udcff ü"
