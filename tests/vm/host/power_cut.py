"""Power cuts: QEMU is killed at random moments and booted again on the same disk; a subscriber outside gets the verdicts.

After each boot every (boot_id, seq) that the subscriber has received must be in the inspection log, and systemd must
start the service again. A cut loses what the guest has not flushed. Leaves out: disks that report a flush too early.
"""

import json
import random
import shutil
import socket
import statistics
import subprocess
import threading
import time

from machine import Machine, RigFailure, give, take_back

SHOWS = "The machine's power is cut at random moments: each verdict that was received outside is in the inspection log, " \
        "and the service comes back."
# From power-on to the first verdict, and to the list of the log.
COMES_BACK_WITHIN = 400


class Reader:
    """A broker on the host, and every verdict that it receives. It runs through all power cuts."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "broker.conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        log = open(folder / "broker.log", "ab")
        self.broker = subprocess.Popen(["mosquitto", "-c", folder / "broker.conf"], stdout=log, stderr=log)
        time.sleep(1)
        self.sub = subprocess.Popen(
            ["mosquitto_sub", "-p", str(self.port), "-q", "1", "-t", "certiscope/+/+/+/verdict"], stdout=subprocess.PIPE, text=True)
        self.heard = {}
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.sub.stdout:
            message = json.loads(line)
            self.heard.setdefault((message["boot_id"], message["seq"]), time.monotonic())

    def boots(self):
        return {boot for boot, _ in list(self.heard)}

    def stop(self):
        for process in (self.sub, self.broker):
            process.kill()
            process.wait()


def wait(what, machine, condition):
    end = machine.began + COMES_BACK_WITHIN
    while not condition():
        if not machine.alive():
            raise RigFailure(f"the machine died waiting for {what}; the end of its output: {machine.last_words()}")
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def run(image, share, binary, package, cuts):
    """The result of the case, as the other cases give it."""
    give(share, binary, package)
    disk = share / "disk.qcow2"
    made = subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{image}/root.img", "-F", "raw", disk],
                          capture_output=True, text=True)
    if made.returncode != 0:
        raise RigFailure(f"no disk: {made.stderr}")
    began = time.monotonic()
    reader = Reader(share)
    (share / "cases.json").write_text(json.dumps({"power-cut": reader.port}))
    try:
        failures, back, checked = cut_again_and_again(image, share, disk, reader, cuts)
    finally:
        reader.stop()
    take_back(share)
    disk.unlink()
    seen = "; ".join(failures) or (
        f"{cuts} cuts, {len(reader.heard)} verdicts heard of {len(reader.boots())} starts, the log complete after each of "
        f"{checked} boots; first verdict {statistics.median(back):.0f} s (at most {max(back):.0f} s) after power-on")
    return {"case": "power-cut", "group": "power-cut", "shows": SHOWS, "passed": not failures, "seen": seen,
            "seconds": round(time.monotonic() - began, 1)}


def cut_again_and_again(image, share, disk, reader, cuts):
    """What was wrong, the seconds to the first verdict of each boot, and how often the log was compared."""
    dice = random.Random()
    failures, back, checked = [], [], 0
    for turn in range(cuts + 1):
        before, boots = set(reader.heard), reader.boots()
        (share / "stored.json").unlink(missing_ok=True)
        machine = Machine(image, share, disk)
        try:
            if turn < cuts and turn % 4 == 3:  # while it boots or starts
                moment = dice.uniform(5, 60)
                time.sleep(moment)
                print(f"power-cut {turn}: cut {moment:.1f} s after power-on", flush=True)
                continue
            if not wait("the first verdict", machine, lambda: reader.boots() - boots):
                failures.append(f"boot {turn}: no verdict within {COMES_BACK_WITHIN} s")
                shutil.copy(share / "journal.txt", share / f"journal-of-boot-{turn}.txt")
                continue
            first = min(at for (boot, _), at in list(reader.heard.items()) if boot not in boots)
            back.append(first - machine.began)
            if not wait("the list of the log", machine, (share / "stored.json").exists):
                raise RigFailure(f"boot {turn}: no list of the log within {COMES_BACK_WITHIN} s")
            stored = json.loads((share / "stored.json").read_text())
            if stored is None:
                failures.append(f"boot {turn}: the log cannot be read")
            else:
                missing = before - {(boot, seq) for boot, seq in stored}
                checked += 1
                if missing:
                    failures.append(f"boot {turn}: {len(missing)} verdicts heard are not in the log: {sorted(missing)[:3]}")
            moment = dice.uniform(0, 10)
            time.sleep(moment)
            print(f"power-cut {turn}: first verdict after {back[-1]:.0f} s, {len(before)} verdicts of before "
                  f"looked for, cut {moment:.1f} s later", flush=True)
        finally:
            machine.cut()
    return failures, back, checked
