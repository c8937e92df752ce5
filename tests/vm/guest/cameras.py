"""The two virtual cameras of the kernel: `vivid` makes pictures and fails on demand, `v4l2loopback` shows ours."""

import fcntl
import glob
import os
import re
import struct
import threading
import time
from pathlib import Path

from line import PATIENCE, expect, run, wait_until

DRIVER = Path("/sys/bus/platform/drivers/vivid")
BY_PATH = "/dev/v4l/by-path/platform-vivid.0-video-index0"


def settle():
    run("udevadm", "settle")


class Vivid:
    """One camera (or two) that moves its test pattern, so that no two frames are the same."""

    def __init__(self, ends, cameras=1, nodes="0x1"):
        self.parameters = [
            f"n_devs={cameras}",
            "node_types=" + ",".join([nodes] * cameras),
            "num_inputs=" + ",".join(["1"] * cameras),
            "input_types=" + ",".join(["0"] * cameras),
        ]
        ends.callback(self.unload)

    def load_without_waiting(self):
        run("modprobe", "vivid", *self.parameters)
        settle()

    def load(self):
        self.load_without_waiting()
        wait_until("the camera's node", self.nodes)
        for node in self.nodes():
            if "horizontal_movement" in run("v4l2-ctl", "-d", node, "--list-ctrls"):
                self.set(node, horizontal_movement=5)
        return self

    def nodes(self):
        """Nodes that capture, in the order of their numbers."""
        found = []
        for node in sorted(glob.glob("/dev/video*"), key=lambda name: int(re.search(r"\d+$", name)[0])):
            name = Path(f"/sys/class/video4linux/{Path(node).name}/name").read_text()
            if name.startswith("vivid") and "vid-cap" in name:
                found.append(node)
        return found

    def node(self):
        return self.nodes()[0]

    def set(self, node, **controls):
        for control, value in controls.items():
            run("v4l2-ctl", "-d", node, "-c", f"{control}={value}")

    def unplug(self):
        (DRIVER / "unbind").write_text("vivid.0")

    def plug(self):
        (DRIVER / "bind").write_text("vivid.0")
        settle()
        for node in self.nodes():
            self.set(node, horizontal_movement=5)

    def unload(self):
        """Unloads the driver. Waits, because a reader that is about to end may still use it."""
        wait_until("vivid is unloaded", lambda: not DRIVER.exists() or run("rmmod", "vivid", ok=(0, 1)) or not DRIVER.exists())


S_FMT = 0xC0D05605
OUTPUT, NO_FIELD = 2, 1


class Loopback:
    """A camera that shows the frames it is given, round and round, until it is given others."""

    def __init__(self, ends, number=20):
        self.node = f"/dev/video{number}"
        self.number = number
        self.frames = []
        self.silent = False
        self.shown = 0
        self.writer = None
        self.ended = threading.Event()
        self.thread = None
        ends.callback(self.unload)

    def load(self):
        run("modprobe", "v4l2loopback", f"video_nr={self.number}", "card_label=loopback", "exclusive_caps=1", "max_buffers=4")
        settle()
        return self

    def feed(self, fourcc, width, height, frames, per_second=10):
        self.frames = list(frames)
        self.writer = os.open(self.node, os.O_RDWR)
        size = max(max(map(len, frames)), width * height * 2)
        pixels = struct.pack("=II4sIII", width, height, fourcc.encode(), NO_FIELD, 0, size)
        fcntl.ioctl(self.writer, S_FMT, bytearray(struct.pack("=II", OUTPUT, 0) + pixels.ljust(200, b"\0")))
        self.ended.clear()
        self.thread = threading.Thread(target=self.write, args=(1 / per_second,), daemon=True)
        self.thread.start()
        return self

    def write(self, pause):
        while not self.ended.wait(pause):
            if not self.silent:
                os.write(self.writer, self.frames[self.shown % len(self.frames)])
                self.shown += 1

    def show(self, frames):
        self.frames, self.shown = list(frames), 0

    def stop(self):
        """Ends the writer: the node no longer captures."""
        self.ended.set()
        if self.thread:
            self.thread.join()
            self.thread = None
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def unload(self):
        self.stop()
        loaded = Path("/sys/module/v4l2loopback")
        wait_until("v4l2loopback is unloaded",
                   lambda: not loaded.exists() or run("rmmod", "v4l2loopback", ok=(0, 1)) or not loaded.exists())


def raw_frame(node, fourcc, width, height, per_second):
    """A frame of the driver, by v4l2-ctl. Two are taken and must be equal, so that the picture is a still one."""
    out = Path("/run/raw-frame")
    run("v4l2-ctl", "-d", node, "-v", f"width={width},height={height},pixelformat={fourcc}", "-p", per_second,
        "--stream-mmap=4", "--stream-skip=2", "--stream-count=2", f"--stream-to={out}", limit=PATIENCE)
    both = out.read_bytes()
    first, second = both[: len(both) // 2], both[len(both) // 2:]
    expect(first == second, f"{fourcc}: the test pattern moves")
    return first


class Dequeued:
    """Counts the frames that a node's readers took, by the kernel's log: one ioctl for each frame, with its number."""

    LINE = re.compile(r"VIDIOC_DQBUF: .*sequence=(\d+)")

    def __init__(self, node):
        self.switch = Path(f"/sys/class/video4linux/{Path(node).name}/dev_debug")

    def count(self, seconds):
        """Frames taken in so many seconds, and how many of the driver's frames were missed."""
        run("dmesg", "--clear")
        self.switch.write_text("0x0b")
        time.sleep(seconds)
        self.switch.write_text("0")
        numbers = [int(number) for number in self.LINE.findall(run("dmesg"))]
        expect(numbers, "the kernel logged no frame at all")
        return len(numbers), numbers[-1] - numbers[0] + 1 - len(numbers)
