"""Cases with certiscope as a service: faults as they happen in a plant, and how long until the next verdict."""

import os
import time
from pathlib import Path

from cameras import BY_PATH, Loopback, Vivid
from cases import case
from line import expect, keep, run, wait_until
from pictures import grey
from service import CONFIGURATION, PACKAGE, STATE, UNIT, Service, install

CAMERA = {"kind": "camera", "device": BY_PATH, "width_px": 640, "height_px": 360, "frames_per_second": 10, "format": ["YUYV"]}


def running(line, source=CAMERA, **configured):
    """A service with broker and camera that has given its first verdict."""
    line.listen()
    Vivid(line.ends).load()
    service = Service(line, source, **configured)
    service.start()
    line.reader.verdict()
    return service


@case("package", limit=300)
def package_is_installed_upgraded_and_purged(line):
    """The Debian package installs, starts, upgrades with its state kept, removes and purges."""
    run("dpkg", "--install", PACKAGE, limit=120)
    service = running(line)
    service.expect_untouched("installed")
    before = service.stored()
    run("dpkg", "--install", PACKAGE, limit=120)
    wait_until("it runs after the upgrade", lambda: service.show("ActiveState") == "active")
    upgraded = time.monotonic()
    seconds = service.next_verdict(upgraded)
    expect(before and before <= service.stored(), "the upgrade lost verdicts")
    run("dpkg", "--remove", "certiscope", limit=120)
    expect(service.show("ActiveState") != "active", "it runs after the removal")
    expect(list(STATE.glob("*.db")) and CONFIGURATION.exists(), "the removal took state or configuration along")
    run("dpkg", "--purge", "certiscope", limit=120)
    left = [path for path in ("/etc/certiscope", "/usr/bin/certiscope", "/usr/lib/systemd/system/certiscope.service")
            if Path(path).exists()]
    expect(not left, f"left after the purge: {left}")
    run("dpkg", "--install", PACKAGE, limit=120)
    return f"verdict {seconds:.1f} s after the upgrade"


@case("service", limit=300)
def started_without_camera_and_broker(line):
    """Neither camera nor broker at the start: active, named in the status, no restart; both may come later, the camera even
    when the kernel had no video driver at the start, under the whole hardening."""
    run("modprobe", "--remove", "vivid", ok=(0, 1))
    drivers = "video4linux" in Path("/proc/devices").read_text()
    service = Service(line, CAMERA)
    ready = service.start()
    time.sleep(5)
    said = service.expect_untouched("neither camera nor broker")
    expect("camera" in said.lower(), f"systemctl status says: {said!r}")
    line.listen()
    Vivid(line.ends).load()
    came = time.monotonic()
    seconds = service.next_verdict(came)
    service.expect_untouched("both came")
    wait_until("nothing waits for the broker", lambda: "; 0 in the outbox" in service.show("StatusText"), 60)
    keep("systemctl-status.txt", run("systemctl", "status", "--no-pager", "--lines", "6", UNIT))
    return (f"ready after {ready:.1f} s; {said!r}; verdict {seconds:.1f} s after the camera came "
            f"(video driver {'was' if drivers else 'was not'} loaded at the start)")


@case("service", limit=300)
def killed(line):
    """kill -9: started again by systemd; what was heard is in the log."""
    service = running(line)
    time.sleep(3)
    hit = time.monotonic()
    service.kill("KILL")
    seconds = service.next_verdict(hit)
    expect(service.restarts() == 1, f"{service.restarts()} restarts")
    return f"next verdict after {seconds:.1f} s; all {service.expect_all_stored()} verdicts heard are in the log"


@case("service", limit=400)
def stopped_by_a_signal(line):
    """SIGSTOP: the watchdog (10 s here) finds it, and it is started again."""
    service = running(line, watchdog=10)
    hit = time.monotonic()
    service.kill("STOP")
    service.restarted()
    seconds = service.next_verdict(hit)
    expect("atchdog" in service.journal(), "the journal says nothing of a watchdog")
    return f"next verdict after {seconds:.1f} s; all {service.expect_all_stored()} verdicts heard are in the log"


@case("service", limit=400)
def hung_model_call(line):
    """A model call that never ends: the agent ends by its own limit (5 s here) and is started again."""
    line.listen()
    good = [grey(320, 240, 128, mark=mark).tobytes() for mark in range(8)]
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, good)
    source = {**CAMERA, "device": camera.node, "width_px": 320, "height_px": 240, "format": ["GREY"], "saturated_above": 1}
    service = Service(line, source, model={"call_limit_ms": 5000})
    service.start()
    line.reader.verdict()
    hit = time.monotonic()
    camera.show([grey(320, 240, 255, mark=-mark).tobytes() for mark in range(8)])
    wait_until("it ended", lambda: service.show("MainPID") == "0" or service.restarts() > 0, 120)
    ended = time.monotonic() - hit
    camera.show(good)
    seconds = service.next_verdict(hit)
    return f"ended after {ended:.1f} s, next verdict after {seconds:.1f} s"


def small_disk(line):
    """A separate file system for the state, of 24 MB."""
    image = line.folder / "disk.img"
    with open(image, "wb") as file:
        file.truncate(24 << 20)
    run("mkfs.ext4", "-q", image)
    install()
    STATE.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "loop", image, STATE)
    line.ends.callback(run, "umount", "--lazy", STATE)
    run("chown", "-R", "certiscope:", STATE.parent)


@case("service", limit=400)
def hung_disk(line):
    """A disk that answers no fsync: the watchdog (10 s here) finds it; when the disk answers, inspection goes on."""
    small_disk(line)
    service = running(line, watchdog=10)
    hit = time.monotonic()
    run("fsfreeze", "--freeze", STATE)
    try:
        wait_until("the watchdog", lambda: "atchdog timeout" in service.journal(), 120)
        found = time.monotonic() - hit
    finally:
        run("fsfreeze", "--unfreeze", STATE)
    thawed = time.monotonic()
    seconds = service.next_verdict(thawed)
    service.restarted()
    return f"found after {found:.1f} s, next verdict {seconds:.1f} s after the disk answered"


@case("service", limit=400)
def full_disk(line):
    """No room for the inspection log: a state with its reason and no restart. With room again, no verdict is lost."""
    small_disk(line)
    service = running(line)
    filler = STATE / "filler"
    mark = line.reader.mark()
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass
        os.fsync(file.fileno())
    full = line.reader.wait("status", lambda m: m["store"]["state"] != "ok", "a store that is not ok", after=mark, limit=180)
    service.expect_untouched("full disk")
    filler.unlink()
    freed = time.monotonic()
    seconds = service.next_verdict(freed)
    service.expect_untouched("room again")
    return (f"{full.message['store']}; next verdict {seconds:.1f} s after there was room; "
            f"all {service.expect_all_stored()} verdicts heard are in the log")


@case("service", limit=300)
def broker_gone(line):
    """The broker is away for 20 s: no restart, and what was inspected meanwhile comes afterwards."""
    service = running(line)
    line.broker.stop()
    time.sleep(20)
    service.expect_untouched("no broker")
    inspected = len(service.stored())
    line.broker.start()
    back = time.monotonic()
    seconds = service.next_verdict(back)

    def heard():
        return {(h.message["boot_id"], h.message["seq"]) for h in line.reader.of("verdict")}

    wait_until("the verdicts made without the broker", lambda: len(heard()) >= inspected, 120)
    late = sum(h.message["historical"] for h in line.reader.of("verdict"))
    expect(late > 0, "nothing is marked as historical")
    service.expect_untouched("broker back")
    return f"next verdict {seconds:.1f} s after the broker was back; {late} late verdicts, {inspected} in all"


@case("service", limit=300)
def clock_steps(line):
    """The clock jumps an hour ahead and back: counted, no restart, inspection goes on."""
    service = running(line)
    told = []
    for step in (3600, -3600):
        steps = line.reader.of("status")[-1].message["clock"]["steps"]
        stepped = time.monotonic()
        time.clock_settime(time.CLOCK_REALTIME, time.time() + step)
        told.append(f"{step:+} s: next verdict after {service.next_verdict(stepped):.1f} s")
        line.reader.wait("status", lambda m: m["clock"]["steps"] > steps, "a counted step")
    service.expect_untouched("clock steps")
    return ", ".join(told)


@case("service", limit=240)
def stopped_in_order(line):
    """`systemctl stop` in mid-run ends well within TimeoutStopSec, with everything delivered."""
    service = running(line)
    time.sleep(3)
    began = time.monotonic()
    run("systemctl", "stop", UNIT, limit=120)
    seconds = time.monotonic() - began
    ended = service.show("Result", "ExecMainStatus", "TimeoutStopUSec")
    expect((ended["Result"], ended["ExecMainStatus"]) == ("success", "0"), str(ended))
    last = line.reader.wait("status", lambda m: m["state"] == "stopped", "stopped").message
    expect(last["outbox"]["depth"] == 0, f"left in the outbox: {last['outbox']}")
    return f"{seconds:.1f} s of {ended['TimeoutStopUSec']}"


@case("service", limit=300)
def idle_is_no_hang(line):
    """A minute without a camera and half a minute waiting for a trigger, at a watchdog of 5 s: nothing is restarted."""
    line.listen()
    vivid = Vivid(line.ends)
    service = Service(line, {**CAMERA, "trigger": "triggered"}, watchdog=5)
    service.start()
    time.sleep(60)
    without = service.expect_untouched("no camera for a minute")
    vivid.load()
    line.reader.source("ok", after=line.reader.mark())
    time.sleep(30)
    waiting = service.expect_untouched("waiting for a trigger")
    return f"without a camera: {without!r}; waiting: {waiting!r}"


@case("service", limit=180)
def wrong_configuration(line):
    """A configuration that is wrong ends with 78 and is not tried again."""
    service = Service(line, CAMERA)
    CONFIGURATION.write_text(CONFIGURATION.read_text().replace("target_radius", "target_raduis"))
    run("systemctl", "start", UNIT, ok=(1,), limit=120)
    time.sleep(10)
    ended = service.show("ActiveState", "ExecMainStatus", "NRestarts")
    expect(ended == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}, str(ended))
    expect("target_raduis" in service.journal(), "the journal does not name the key")
