"""What the cases are built from: a broker, a subscriber, and the program with its configuration, as its users run it.

Everything that a case starts ends with the case: `Line` keeps the list. Waits are long and end early: the machine is
emulated, so a tight limit would measure the emulation.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HOST = Path("/mnt/host")
PROGRAM = "/opt/certiscope/certiscope"
BUNDLES = Path("/opt/certiscope/bundles")
PORT = 1883
AT = ("-h", "127.0.0.1", "-p", str(PORT))
# The factor by which the time limits are longer here, because the machine is emulated.
SLOWER = 4
PATIENCE = 60


class Failed(Exception):
    """The case has failed."""


def keep(name, text):
    """Writes a file for people, beside the report."""
    (HOST / name).write_text(text)


def expect(holds, what):
    if not holds:
        raise Failed(what)


def wait_until(what, condition, limit=PATIENCE):
    """Waits until the condition is true, and returns its value."""
    end = time.monotonic() + limit
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"not within {limit} s: {what}")
        time.sleep(0.05)


def run(*command, limit=PATIENCE, ok=(0,), **options):
    """Runs a command, which must end with one of these codes, and returns its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=limit, **options)
    if done.returncode not in ok:
        raise Failed(f"{' '.join(map(str, command))}: exit {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
    return done.stdout


def environment():
    library = next(Path("/opt/certiscope").glob("libonnxruntime.so*"))
    return {**os.environ, "ORT_DYLIB_PATH": str(library), "OMP_WAIT_POLICY": "passive"}


def certiscope(*arguments, limit=120, ok=(0,)):
    return run(PROGRAM, *arguments, limit=limit, ok=ok, env=environment())


@dataclass
class Heard:
    at: float
    station: str
    leaf: str
    retained: bool
    message: dict


class Broker:
    """mosquitto on the usual port. It keeps no messages after its end."""

    def __init__(self, ends):
        self.process = None
        self.file = Path("/run/broker.conf")
        self.file.write_text(f"listener {PORT} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        ends.callback(self.stop)

    def start(self):
        log = open("/run/broker.log", "ab")
        self.process = subprocess.Popen(["mosquitto", "-c", str(self.file)], stdout=log, stderr=log)
        wait_until("the broker answers", self.answers)
        return self

    def answers(self):
        asked = ["mosquitto_pub", *AT, "-t", "probe", "-n"]
        return subprocess.run(asked, capture_output=True).returncode == 0

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Reader:
    """A subscriber to all topics: every message, with the time it arrived."""

    def __init__(self, line):
        self.line = line
        self.heard = []
        asked = ["mosquitto_sub", *AT, "-q", "1", "-t", "certiscope/#", "-F", "%j"]
        self.process = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
        line.ends.callback(self.process.kill)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            outer = json.loads(line)
            *_, station, leaf = re.fullmatch(r"certiscope/([^/]+)/([^/]+)/([^/]+)/(.+)", outer["topic"]).groups()
            message = json.loads(outer["payload"]) if outer["payload"] else {}
            self.heard.append(Heard(time.monotonic(), station, leaf, bool(outer["retain"]), message))

    def mark(self):
        """A mark: a wait that gets it as `after` ignores earlier messages."""
        return len(self.heard)

    def of(self, leaf, station="station1", after=0):
        return [heard for heard in self.heard[after:] if heard.leaf == leaf and heard.station == station]

    def wait(self, leaf, wanted, what, after=0, limit=PATIENCE, station="station1"):
        try:
            return wait_until(what, lambda: self.line.first(h for h in self.of(leaf, station, after) if wanted(h.message)), limit)
        except Failed as failed:
            last = self.of(leaf, station)[-1:]
            raise Failed(f"{failed}; the last {leaf}: {last[0].message if last else 'none'}") from None

    def verdict(self, what="a verdict", wanted=lambda message: True, **options):
        return self.wait("verdict", wanted, what, **options)

    def source(self, state, **options):
        """The first status in which the source has this state; `ok` means that a frame has come."""

        def wanted(message):
            source = message.get("source", {})
            return source.get("state") == state and (state != "ok" or source["last_frame_at"])

        return self.wait("status", wanted, f"source {state}", **options)


def toml(name, values):
    return f"{name}\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()) + "\n"


def configuration(source, state, name="station1", controls=None, bundle="faulty", keep="flagged", **sections):
    """The text of a station's configuration."""
    smoothing = {"target_radius": 0.01, "max_draws": 32, "batch": 16}
    return "".join([
        toml("[store]", {"folder": str(state), "min_free_mb": 0, **sections.get("store", {})}),
        toml("[evidence]", {"keep": keep, "min_free_mb": 0, "max_mb": 200}),
        toml("[broker]", {"host": "127.0.0.1", "port": PORT, "keep_alive_secs": 10, **sections.get("broker", {})}),
        toml("[[station]]", {"name": name, "bundle": str(BUNDLES / bundle)}),
        toml("[station.source]", source),
        toml("[station.source.controls]", controls) if controls else "",
        toml("[station.smoothing]", {**smoothing, **sections.get("smoothing", {})}),
        toml("[station.model]", {"threads": 1, "call_limit_ms": 120000, **sections.get("model", {})}),
    ])


class Station:
    """The program with its own configuration."""

    def __init__(self, line, source, name="station1", **configured):
        self.folder = line.folder / name
        self.folder.mkdir(exist_ok=True)
        self.state = self.folder / "state"
        self.file = self.folder / "station.toml"
        self.file.write_text(configuration(source, self.state, name, **configured))
        self.log = self.folder / "log"
        line.logs.append(self.log)
        self.process = None
        line.stations.append(self)
        line.ends.callback(self.kill)

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "run", "--config", str(self.file)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"), env=environment(),
        )
        return self

    def stop(self, limit=PATIENCE):
        """Stops it in order, and returns how long that took."""
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(limit)
        expect(code == 0, f"stopping in order ended with {code}: {self.said()[-600:]}")
        self.process = None
        return time.monotonic() - began

    def kill(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def said(self):
        return self.log.read_text(errors="replace")

    def rows(self):
        """The rows of the inspection log, oldest first."""
        text = certiscope("inspections", "export", "--store", self.state, "--format", "jsonl")
        return [json.loads(row) for row in text.splitlines()]

    def evidence(self, row):
        """Folder of the evidence of a row."""
        found = list(self.state.glob(f"evidence/**/{row['result_id']}")) or [
            path.parent for path in self.state.glob("evidence/**/input.safetensors")
            if str(path.parent).endswith(row["evidence_folder"])
        ]
        expect(found, f"no evidence of {row['result_id']}")
        return found[0]


class Line:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.ends = ExitStack()
        self.logs = []
        self.ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.stations = []
        self.broker = Broker(self.ends)
        self.reader = None

    def listen(self):
        """Broker and reader, for all cases but those that begin without a broker."""
        self.broker.start()
        self.reader = Reader(self)
        return self.reader

    def first(self, heard):
        """Waits like the reader, but fails at once if a station has ended."""
        found = next(heard, None)
        for station in self.stations if found is None else []:
            expect(station.process is None or station.process.poll() is None, f"{station.folder.name} has ended")
        return found

    def station(self, source, **configured):
        return Station(self, source, **configured)

    def said(self):
        """The end of what every station printed, for the report of a failed case."""
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-4000:]}" for log in self.logs if log.exists())

    def publish(self, leaf, message, station="station1"):
        topic = f"certiscope/certiscope/certiscope/{station}/{leaf}"
        run("mosquitto_pub", *AT, "-q", 1, "-t", topic, "-m", json.dumps(message))
