"""certiscope as a service of systemd: from the Debian package where one was given, else put in place by hand."""

import json
import shutil
import time
from pathlib import Path

from line import SLOWER, configuration, expect, run, toml, wait_until

GIVEN = Path("/opt/certiscope")
PACKAGE = GIVEN / "certiscope.deb"
UNIT = "certiscope.service"
STATE = Path("/var/lib/certiscope/station")
CONFIGURATION = Path("/etc/certiscope/station.toml")
OVERRIDE = Path("/etc/systemd/system/certiscope.service.d/suite.conf")


def install():
    """Program, units and user; nothing is started."""
    if Path("/usr/bin/certiscope").exists():
        return
    if PACKAGE.exists():
        run("dpkg", "--install", PACKAGE, limit=120)
        return
    shutil.copy(GIVEN / "certiscope", "/usr/bin/certiscope")
    for unit in (GIVEN / "systemd").glob("*.service"):
        shutil.copy(unit, "/etc/systemd/system")
    Path("/etc/certiscope/credentials").mkdir(parents=True, exist_ok=True)
    run("useradd", "--system", "--home-dir", "/nonexistent", "certiscope")
    run("systemctl", "daemon-reload")


def configure(source, watchdog=None, broker=None, **configured):
    """Writes the station's configuration, and a shorter watchdog where a case waits for it."""
    text = configuration(source, STATE, broker=broker or {}, **configured)
    if not PACKAGE.exists():
        text = toml("[onnxruntime]", {"library": str(next(GIVEN.glob("libonnxruntime.so*")))}) + text
    CONFIGURATION.write_text(text)
    OVERRIDE.unlink(missing_ok=True)
    if watchdog:
        OVERRIDE.parent.mkdir(parents=True, exist_ok=True)
        OVERRIDE.write_text(f"[Service]\nWatchdogSec={watchdog}\n")
    run("systemctl", "daemon-reload")


class Service:
    """The station under its unit; stopped, and its state removed, when the case ends."""

    def __init__(self, line, source, **configured):
        install()
        self.line = line
        self.cursor = run("journalctl", "--boot", "--lines", "0", "--show-cursor").split("cursor: ")[1].strip()
        configure(source, **configured)
        line.ends.callback(self.remove)

    def start(self):
        """Waits for READY, and returns how long that took."""
        began = time.monotonic()
        run("systemctl", "start", UNIT, limit=120)
        return time.monotonic() - began

    def remove(self):
        run("systemctl", "stop", UNIT, ok=(0, 5), limit=120)
        run("systemctl", "reset-failed", UNIT, ok=(0, 1))
        for left in STATE.parent.glob("station/*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()

    def show(self, *properties):
        """Properties of the unit, from systemctl show."""
        text = run("systemctl", "show", UNIT, "--property", ",".join(properties))
        values = dict(line.split("=", 1) for line in text.splitlines())
        return values[properties[0]] if len(properties) == 1 else values

    def restarts(self):
        return int(self.show("NRestarts"))

    def expect_untouched(self, while_):
        now = self.show("ActiveState", "NRestarts", "StatusText")
        expect(now["ActiveState"] == "active" and now["NRestarts"] == "0", f"{while_}: {now}")
        return now["StatusText"]

    def journal(self):
        """The journal of the unit since the case began."""
        return run("journalctl", "--unit", UNIT, "--after-cursor", self.cursor, "--no-pager", "--output", "cat")

    def kill(self, signal):
        run("systemctl", "kill", "--signal", signal, "--kill-whom", "main", UNIT)

    def next_verdict(self, since, limit=60 * SLOWER):
        """Seconds from `since` to the first verdict after now."""
        return self.line.reader.verdict("the next verdict", after=self.line.reader.mark(), limit=limit).at - since

    def stored(self):
        text = run("certiscope", "inspections", "export", "--store", STATE, "--format", "jsonl")
        return {(row["boot_id"], row["seq"]) for row in map(json.loads, text.splitlines())}

    def expect_all_stored(self):
        """Checks that every verdict that was received is in the inspection log."""
        heard = {(h.message["boot_id"], h.message["seq"]) for h in self.line.reader.of("verdict")}
        missing = heard - self.stored()
        expect(not missing, f"heard and not in the log: {sorted(missing)[:5]}")
        return len(heard)

    def restarted(self, times=1, limit=180):
        wait_until(f"{times} restart", lambda: self.restarts() >= times, limit)
