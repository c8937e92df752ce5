"""Nothing leaves the machine: no name is looked up, and no library leaves a file below the home folder.

Every command runs in a separate network namespace, in which a name server of this test counts the look-ups, and with
an empty home folder. ONNX Runtime as it comes from PyPI keeps an identifier of the machine there as soon as it is
imported, unless ORT_DISABLE_TELEMETRY=1 is set.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import skip
from PIL import Image

MODELS = Path(__file__).parents[1]

# Runs the command in its arguments. Prints how many packets came to the name server; ends with the command's status.
WATCHED = """
import fcntl, os, socket, struct, subprocess, sys
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.setblocking(False)
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
asked = 0
while True:
    try:
        server.recv(4096)
        asked += 1
    except BlockingIOError:
        break
print("look-ups:", asked)
sys.exit(status)
"""


@pytest.fixture
def watched(tmp_path):
    """A function that runs Python with words, and returns what was left below its home folder and the look-ups."""
    home, resolver = tmp_path / "home", tmp_path / "resolv.conf"
    home.mkdir()
    resolver.write_text("nameserver 127.0.0.1\n")
    mounted = f'mount --bind {resolver} "$(realpath /etc/resolv.conf)" && exec "$@"'
    apart = ["unshare", "--net", "--mount", "sh", "-c", mounted, "sh"]
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        skip("mount", f"a network namespace with a name server of its own needs root: {error}")
    # As a person may have set it, who wants the opposite.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(MODELS)}
    environment |= {"ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "0"}

    def run(*words):
        ended = subprocess.run(
            [*apart, sys.executable, "-c", WATCHED, sys.executable, "-B", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        left = [path.relative_to(home).as_posix() for path in home.rglob("*")]
        return left, int(ended.stdout.rpartition("look-ups:")[2])

    return run


TABLE = """
[train]
size = 16
base = 8
multipliers = [1, 2]
no-attention = true
steps = 1
batch = 2
[run.base]
[[row]]
name = "base"
run = "base"
k = 50
draws = 2
"""
TINY = "--size 16 --channels 1 --base 8 --multipliers 1,2 --no-attention --threads 1 --steps 1 --batch 2"
EXPORT = "--held-back split/held-back --name a --k 60 --sigma 0.05 --draws 2 --trained-on noise"
SAVE_UNET = """
import certiscope_models
from diffusers import UNet2DModel
UNet2DModel(sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32,),
            down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)).save_pretrained("unet")
"""


def test_no_command_reports_home(watched, tmp_path):
    for n in range(8):
        pixels = np.random.default_rng(n).integers(0, 256, (32, 40), dtype=np.uint8)
        for folder in ("good", "test/good", "test/crack"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{n}.png")
    (tmp_path / "table.toml").write_text(TABLE)
    lines = [
        "--help",
        "split --data good --out split --held-back 0.4",
        f"train --data split/fit --held-back split/held-back --out run {TINY}",
        "search --run run --held-back split/held-back --k 25 --draws 2 --threads 1",
        f"export --run run {EXPORT} --out bundle",
        f"export --diffusers unet --schedule-is-linear {EXPORT} --out second",
        "ablate --table table.toml --fit split/fit --held-back split/held-back --test test --out runs --threads 1",
    ]
    assert watched("-c", SAVE_UNET) == ([], 0)
    for line in lines:
        assert watched("-m", "certiscope_models", *line.split()) == ([], 0), line


def test_an_import_is_enough(watched):
    assert watched("-c", "import certiscope_models.onnx_graph") == ([], 0)


def test_this_test_sees_what_onnx_runtime_does_when_it_is_not_told(watched):
    """If this fails, the library no longer does it (or does it elsewhere), and the tests above prove nothing."""
    import platform

    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("known of the wheels for Linux")
    left, _ = watched("-c", "import onnxruntime")
    assert any("deviceid" in path for path in left), left
