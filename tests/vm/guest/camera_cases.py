"""Cases with a camera: how the station behaves when the camera works, and when it does not."""

import json
import os
import random
import shutil
import statistics
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy
from PIL import Image

from cameras import BY_PATH, Dequeued, Loopback, Vivid, raw_frame
from cases import case
from line import AT, BUNDLES, PROGRAM, SLOWER, certiscope, environment, expect, keep, run, wait_until
from pictures import as_rgb, compare, grey, jpeg, reference

WIDTH, HEIGHT = 640, 360
NORMAL, DEFECT = 128, 255


def vivid_source(**more):
    return {"kind": "camera", "device": BY_PATH, "width_px": WIDTH, "height_px": HEIGHT, "frames_per_second": 10,
            "format": ["YUYV"], **more}


def loopback_source(node, **more):
    return {"kind": "camera", "device": node, "width_px": 320, "height_px": 240, "frames_per_second": 10, **more}


def even(level=NORMAL, square=None, count=8):
    """Frames of one picture that are still all different."""
    return [grey(320, 240, level, square, mark) for mark in range(count)]


def captured(heard):
    return datetime.fromisoformat(heard.message["captured_at"])


def no_verdict_for(line, seconds, why):
    """No verdicts come in this state. One that was being computed when the state appeared is still allowed."""
    time.sleep(1)
    before = len(line.reader.of("verdict"))
    time.sleep(seconds)
    expect(len(line.reader.of("verdict")) == before, f"a verdict while the source is {why}")


# --- finding and reading -----------------------------------------------------------------------------------------

@case("camera")
def lists_cameras(line):
    """`certiscope cameras` names each camera with by-path name, driver, formats and controls; --snapshot takes a picture."""
    vivid = Vivid(line.ends).load()
    text = certiscope("cameras")
    keep("cameras.txt", text)
    expect(text.count("cannot read") == 1 and "YVYU" in text, f"formats that cannot be read: {text[:600]}")
    told = certiscope("cameras", "--json")
    json.loads(told)
    for word in ("vivid", BY_PATH, "YUYV", "NV12", "GREY", "BGR4", "brightness"):
        expect(word in told, f"--json does not say {word}: {told[:600]}")
    expect("vivid" in text and vivid.node() in text, f"the table says: {text[:600]}")
    picture = line.folder / "snapshot.png"
    certiscope("cameras", "--device", BY_PATH, "--snapshot", picture)
    with Image.open(picture) as image:
        expect(min(image.size) > 0 and numpy.asarray(image).std() > 10, "the snapshot shows no test pattern")
        return f"snapshot of {image.size[0]}x{image.size[1]}"


@case("camera", limit=420)
def every_format(line):
    """Each format is captured and compared with a reference conversion of the driver's own bytes."""
    vivid = Vivid(line.ends).load()
    vivid.set(vivid.node(), horizontal_movement=3, osd_text_mode=2)
    worst = {}
    for fourcc, tolerance in (("GREY", 0), ("RGB3", 0), ("BGR3", 0), ("YUYV", 2), ("UYVY", 2), ("NV12", 2)):
        raw = raw_frame(vivid.node(), fourcc, WIDTH, HEIGHT, 10)
        picture = collect(line, vivid_source(format=[fourcc], frozen_after=0), fourcc)
        worst[fourcc] = compare(fourcc, picture, reference(fourcc, raw, WIDTH, HEIGHT), tolerance)
    vivid.unload()

    noise = numpy.random.default_rng(1).integers(0, 256, (30, 40, 3), numpy.uint8)
    colours = numpy.asarray(Image.fromarray(noise).resize((320, 240), Image.BICUBIC))
    raw = jpeg(colours)
    camera = Loopback(line.ends).load().feed("MJPG", 320, 240, [raw])
    source = loopback_source(camera.node, format=["MJPG"], frozen_after=0)
    worst["MJPG"] = compare("MJPG", collect(line, source, "MJPG"), reference("MJPG", raw, 320, 240), 3)
    return "largest difference in levels: " + ", ".join(f"{name} {levels}" for name, levels in worst.items())


def collect(line, source, name):
    """A frame as the station sees it, taken by `certiscope collect`."""
    station = line.station(source, name=f"collect-{name}")
    out = line.folder / f"collected-{name}"
    certiscope("collect", "--config", station.file, "--count", "1", "--out", out)
    with Image.open(next(out.glob("good/*.png"))) as image:
        return numpy.asarray(image)


@case("camera", limit=420)
def scores_like_a_folder(line):
    """Known pictures through a camera score as the same pictures from a folder: the same model input, and with the
    camera's seed the same scores, bit for bit (GREY and RGB3)."""
    line.listen()
    dice = numpy.random.default_rng(7)
    texture = [numpy.clip(grey(320, 240, 128, square) + dice.normal(0, 6, (240, 320)), 0, 255).astype(numpy.uint8)
               for square in (None, None, 200, 255)]
    told = []
    for fourcc, pictures in (("GREY", texture), ("RGB3", [as_rgb(picture) for picture in texture])):
        folder = line.folder / f"pictures-{fourcc}"
        folder.mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{number}.png")
        files = line.station({"kind": "folder", "path": str(folder)}, name=f"folder-{fourcc}", keep="all").start()
        wait_until("the folder's verdicts", lambda: len(line.reader.of("verdict", f"folder-{fourcc}")) >= len(pictures))
        files.stop()
        camera = Loopback(line.ends).load().feed(fourcc, 320, 240, [picture.tobytes() for picture in pictures], 2)
        live = line.station(loopback_source(camera.node, format=[fourcc]), name=f"camera-{fourcc}", keep="all").start()
        wait_until("the camera's verdicts", lambda: len(line.reader.of("verdict", f"camera-{fourcc}")) >= 8)
        live.stop()
        camera.unload()

        of_file = {int(Path(row["part_id"]).stem): row for row in files.rows()}
        seen = set()
        for row in live.rows():
            number = which(live.evidence(row), pictures)
            same_input(live.evidence(row), files.evidence(of_file[number]))
            if number in (0, len(pictures) - 1) and number not in seen:  # half a minute each
                same_score(live, row, files.evidence(of_file[number]))
            seen.add(number)
            expect(row["verdict"] == of_file[number]["verdict"], f"picture {number}: {row['verdict']} by camera")
        expect(len(seen) == len(pictures), f"{fourcc}: only pictures {seen} were seen")
        verdicts = [of_file[number]["verdict"] for number in sorted(of_file)]
        told.append(f"{fourcc}: {len(live.rows())} frames of {len(seen)} pictures ({', '.join(verdicts)})")
    return "; ".join(told)


def which(evidence, pictures):
    """Number of the picture that the evidence shows, to the last bit."""
    with Image.open(next(evidence.glob("frame.*"))) as image:
        got = numpy.asarray(image)
    found = [number for number, picture in enumerate(pictures) if numpy.array_equal(got, picture)]
    expect(len(found) == 1, "a frame is none of the pictures that were shown")
    return found[0]


def same_input(of_camera, of_file):
    expect((of_camera / "input.safetensors").read_bytes() == (of_file / "input.safetensors").read_bytes(),
           "the model's input differs")


def same_score(live, row, of_file):
    """The evidence of the file in the place of the camera's: the stored scores must come out of it."""
    of_camera = live.evidence(row)
    shutil.copy(of_file / "input.safetensors", of_camera / "input.safetensors")
    next(of_camera.glob("frame.*")).unlink()
    shutil.copy(next(of_file.glob("frame.*")), of_camera)
    certiscope("verify", "--store", live.state, row["boot_id"], row["seq"], "--station", live.folder.name)


@case("camera")
def fractional_rate_and_controls(line):
    """12.5 frames a second are negotiated and reported; controls are set, and one that something else changes is named."""
    line.listen()
    vivid = Vivid(line.ends).load()
    line.station(vivid_source(frames_per_second=12.5), controls={"brightness": 140}).start()
    line.reader.verdict()
    told = line.reader.source("ok").message["source"]["camera"]
    expect(told["frames_per_second"] == 12.5 and told["format"] == "YUYV", f"status says {told}")
    expect((told["device"], told["path"]) == (BY_PATH, vivid.node()), f"status says {told}")
    expect("140" in run("v4l2-ctl", "-d", vivid.node(), "-C", "brightness"), "brightness was not set")
    vivid.set(vivid.node(), brightness=120)
    drifted = line.reader.wait(
        "status", lambda m: m["source"]["camera"] and m["source"]["camera"]["controls_drifted"], "a drifted control")
    named = drifted.message["source"]["camera"]["controls_drifted"]
    expect(any("brightness" in one for one in named), f"drifted: {named}")
    return f"drift reported: {named[0]}"


@case("camera")
def format_that_is_not_offered(line):
    """A camera that has none of the formats asked for is refused with both named; nothing is inspected."""
    line.listen()
    Vivid(line.ends).load()
    station = line.station(vivid_source(format=["MJPG"])).start()
    heard = line.reader.wait("status", lambda m: m["source"]["state"] not in ("ok", "stalled"), "trouble")
    reason = heard.message["source"]["reason"]
    expect("MJPG" in reason and "YUYV" in reason, f"{heard.message['source']}")
    expect(not line.reader.of("verdict"), "a verdict all the same")
    station.stop()
    return f"{heard.message['source']['state']}: {reason}"


@case("camera")
def other_format_than_calibrated(line):
    """A bundle that was calibrated with another format of a camera refuses the one it gets, both named."""
    line.listen()
    Vivid(line.ends).load()
    bundle = line.folder / "calibrated"
    shutil.copytree(BUNDLES / "faulty", bundle)
    with open(bundle / "bundle.toml", "a") as manifest:
        manifest.write('\n[calibration.camera]\nformat = "GREY"\nwidth = 320\nheight = 240\n')
    station = line.station(vivid_source(), bundle=bundle).start()
    reason = line.reader.source("refused").message["source"]["reason"]
    expect("GREY" in reason and "YUYV" in reason, reason)
    no_verdict_for(line, 2, "refused")
    expect(not line.reader.of("verdict"), "a verdict all the same")
    station.stop()
    return reason


# --- coming and going --------------------------------------------------------------------------------------------

@case("camera")
def unplug_and_replug(line):
    """A camera is unplugged during the run and comes back under another number: inspection goes on within 3 s (12 s here)."""
    line.listen()
    vivid = Vivid(line.ends).load()
    before = vivid.node()
    station = line.station(vivid_source()).start()
    line.reader.verdict()
    mark = line.reader.mark()
    pulled = time.monotonic()
    vivid.unplug()
    lost = line.reader.source("lost", after=mark)
    expect(lost.message["source"]["last_frame_at"], "last_frame_at is missing")
    Loopback(line.ends, number=int(before.removeprefix("/dev/video"))).load()
    mark = line.reader.mark()
    plugged = time.monotonic()
    vivid.plug()
    verdict = line.reader.verdict(after=mark)
    took = verdict.at - plugged
    expect(took <= 3 * SLOWER, f"the next verdict came {took:.1f} s after the replug")
    camera = line.reader.source("ok", after=mark).message["source"]["camera"]
    expect(camera["path"] == vivid.node() != before, f"status says {camera}, the node is {vivid.node()}")
    station.stop()
    return f"lost reported after {lost.at - pulled:.1f} s; next verdict {took:.1f} s after the replug ({before} became {vivid.node()})"


@case("camera")
def plugged_in_after_the_start(line):
    """The station starts without a camera, says so, and inspects when one comes."""
    line.listen()
    vivid = Vivid(line.ends)
    station = line.station(vivid_source()).start()
    lost = line.reader.source("lost")
    expect(lost.message["state"] == "online" and BY_PATH in lost.message["source"]["reason"], str(lost.message["source"]))
    time.sleep(5)
    plugged = time.monotonic()
    vivid.load()
    loaded = time.monotonic()
    verdict = line.reader.verdict()
    station.stop()
    return f"driver loaded in {loaded - plugged:.1f} s, verdict {verdict.at - loaded:.1f} s later"


@case("camera", limit=240)
def vanishes_while_being_opened(line):
    """A camera with a loose plug: unplugged and plugged in twenty times at random moments, mostly while it is being opened."""
    line.listen()
    vivid = Vivid(line.ends).load()
    station = line.station(vivid_source()).start()
    line.reader.verdict()
    dice = random.Random(5)
    for _ in range(20):
        vivid.unplug()
        time.sleep(dice.uniform(0, 0.6))
        vivid.plug()
        time.sleep(dice.uniform(0, 1.2))
    mark, now = line.reader.mark(), time.monotonic()
    verdict = line.reader.verdict(after=mark)
    expect(station.process.poll() is None, "the station has ended")
    station.stop()
    return f"next verdict {verdict.at - now:.1f} s after the last replug"


@case("camera")
def silent_feeder(line):
    """A camera that is there and sends nothing is stalled; the station can be stopped; inspection goes on when frames come again."""
    line.listen()
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, [frame.tobytes() for frame in even()])
    station = line.station(loopback_source(camera.node, format=["GREY"])).start()
    line.reader.verdict()
    mark, silent = line.reader.mark(), time.monotonic()
    camera.silent = True
    stalled = line.reader.source("stalled", after=mark)
    no_verdict_for(line, 2, "stalled")
    mark, again = line.reader.mark(), time.monotonic()
    camera.silent = False
    verdict = line.reader.verdict(after=mark)
    camera.silent = True
    line.reader.source("stalled", after=line.reader.mark())
    stopped = station.stop(limit=30)
    return (f"stalled reported after {stalled.at - silent:.1f} s, next verdict {verdict.at - again:.1f} s after the first frame, "
            f"stopped in {stopped:.1f} s while stalled")


@case("camera", limit=240)
def injected_errors(line):
    """Errors that a driver can answer with: a frame flagged bad, and calls that fail once; inspection goes on after each."""
    line.listen()
    vivid = Vivid(line.ends).load()
    station = line.station(vivid_source()).start()
    line.reader.verdict()
    told = []
    for controls in (["fatal_streaming_error"], ["vidioc_qbuf_error"],
                     ["vidioc_streamon_error", "fatal_streaming_error"], ["vidioc_reqbufs_error", "fatal_streaming_error"]):
        mark, injected = line.reader.mark(), time.monotonic()
        vivid.set(vivid.node(), **{f"inject_{control}": 1 for control in controls})
        time.sleep(2)
        mark = max(mark, line.reader.mark())
        verdict = line.reader.verdict(f"a verdict after {controls}", after=mark)
        told.append(f"{'+'.join(controls)} {verdict.at - injected - 2:.1f} s")

    def flagged():  # again and again: a flagged frame that a newer one has overtaken is dropped as stale
        vivid.set(vivid.node(), inject_v4l2_buf_flag_error=1)
        return line.reader.of("status")[-1].message["drops"]["broken"]

    broken = wait_until("a flagged frame among the drops", flagged)
    expect(station.process.poll() is None, "the station has ended")
    return f"verdicts again (2 s after the error): {', '.join(told)}; drops.broken {broken}"


# --- not a camera, or not for us ---------------------------------------------------------------------------------

@case("camera", limit=300)
def devices_that_are_no_camera(line):
    """A null device, a file, a folder, an output and a radio: reported with a reason, no crash, an ordered stop."""
    line.listen()
    Vivid(line.ends, nodes="0x110").load_without_waiting()
    file = line.folder / "picture.png"
    Image.fromarray(grey(64, 64, 128)).save(file)
    told = []
    for number, device in enumerate(["/dev/null", str(file), "/dev", "/dev/video0", "/dev/radio0", "/dev/video63"]):
        name = f"station{number + 10}"
        station = line.station(loopback_source(device), name=name).start()
        heard = line.reader.wait("status", lambda m: m["source"]["state"] not in ("ok", "stalled"),
                                 f"trouble for {device}", station=name)
        reason = heard.message["source"]["reason"]
        expect(device in reason, f"{device}: {heard.message['source']}")
        station.stop()
        told.append(f"{heard.message['source']['state']}: {reason}")
    return "; ".join(told)


@case("camera")
def busy_camera(line):
    """A camera that another program streams from is reported as busy, and taken when that ends."""
    line.listen()
    vivid = Vivid(line.ends).load()
    other = subprocess.Popen(["v4l2-ctl", "-d", vivid.node(), "--stream-mmap", "--stream-count=100000"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    line.ends.callback(other.kill)
    time.sleep(3)
    station = line.station(vivid_source()).start()
    heard = line.reader.source("lost")
    reason = heard.message["source"]["reason"]
    expect("another program" in reason, reason)
    other.kill()
    other.wait()
    free = time.monotonic()
    verdict = line.reader.verdict()
    station.stop()
    return f"{reason}; verdict {verdict.at - free:.1f} s after it was free"


@case("camera")
def no_permission(line):
    """A user who is not in the group `video` sees that in the status. No restart is needed once the permission is given."""
    line.listen()
    vivid = Vivid(line.ends).load()
    station = line.station(vivid_source())
    run("chown", "-R", "nobody", line.folder)
    station.process = subprocess.Popen(
        [PROGRAM, "run", "--config", str(station.file)], user="nobody", group="nogroup", extra_groups=[],
        stdout=subprocess.DEVNULL, stderr=open(station.log, "ab"), env=environment())
    heard = line.reader.source("lost")
    reason = heard.message["source"]["reason"]
    expect("group `video`" in reason, reason)
    os.chmod(vivid.node(), 0o666)
    allowed = time.monotonic()
    verdict = line.reader.verdict()
    station.stop()
    return f"{reason}; verdict {verdict.at - allowed:.1f} s after the right was given"


@case("camera")
def two_cameras(line):
    """Two stations with a camera each: one camera falls silent, the other station is not affected."""
    line.listen()
    Vivid(line.ends).load()
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, [frame.tobytes() for frame in even()])
    line.station(vivid_source(), name="left").start()
    line.station(loopback_source(camera.node, format=["GREY"]), name="right").start()
    line.reader.verdict(station="left")
    line.reader.verdict(station="right")
    camera.silent = True
    line.reader.source("stalled", station="right", after=line.reader.mark())
    line.reader.verdict("the other goes on", station="left", after=line.reader.mark())
    wrong = [h.message["source"] for h in line.reader.of("status", "left") if h.message["source"]["state"] not in ("ok", "lost")]
    expect(not wrong, f"left: {wrong[:1]}")


# --- pictures that must not be inspected -----------------------------------------------------------------------------

@case("camera", limit=300)
def frozen_dark_saturated(line):
    """Identical, dark and saturated frames are states in the retained status, without a verdict; good frames end each."""
    line.listen()
    good = [frame.tobytes() for frame in even()]
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, good)
    station = line.station(loopback_source(camera.node, format=["GREY"])).start()
    line.reader.verdict()
    told = []
    for state, frames in (("frozen", good[:1]), ("dark", [frame.tobytes() for frame in even(1)]),
                          ("saturated", [frame.tobytes() for frame in even(255)])):
        mark, shown = line.reader.mark(), time.monotonic()
        camera.show(frames)
        heard = line.reader.source(state, after=mark)
        no_verdict_for(line, 2, state)
        retained = json.loads(run("mosquitto_sub", *AT, "-t", "certiscope/+/+/station1/status", "-C", "1", "-W", "20"))
        expect(retained["source"]["state"] == state, f"retained is {retained['source']}")
        mark, back = line.reader.mark(), time.monotonic()
        camera.show(good)
        verdict = line.reader.verdict(f"a verdict after {state}", after=mark)
        told.append(f"{state} reported after {heard.at - shown:.1f} s, next verdict {verdict.at - back:.1f} s after good frames")
    drops = line.reader.wait("status", lambda m: m["drops"]["stale"] > 0, "drops").message["drops"]
    station.stop()
    return "; ".join(told) + f"; drops.stale {drops['stale']}"


@case("camera", limit=240)
def truncated_jpeg(line):
    """JPEGs that end too early or are rubbish are the state broken, never a verdict other than abstain; whole ones end it."""
    line.listen()
    good = [jpeg(frame) for frame in even()]
    camera = Loopback(line.ends).load().feed("MJPG", 320, 240, good)
    station = line.station(loopback_source(camera.node, format=["MJPG"])).start()
    line.reader.verdict("a verdict from whole JPEGs", lambda m: m["verdict"] != "abstain")
    dice = random.Random(3)
    told = []
    for name, frames in (("truncated", [whole[: len(whole) // 3] for whole in good]),
                         ("rubbish", [bytes(dice.randrange(256) for _ in range(3000)) for _ in good])):
        mark = line.reader.mark()
        camera.show(frames)
        heard = line.reader.source("broken", after=mark)
        mark = line.reader.mark()
        time.sleep(3)
        judged = [h.message["verdict"] for h in line.reader.of("verdict", after=mark)]
        expect(set(judged) <= {"abstain"}, f"{name}: {judged}")
        camera.show(good)
        line.reader.verdict(f"a verdict after {name}", lambda m: m["verdict"] != "abstain", after=line.reader.mark())
        told.append(f"{name}: {heard.message['source']['reason']}")
    broken = line.reader.wait("status", lambda m: m["drops"]["broken"] > 0, "drops.broken").message["drops"]["broken"]
    station.stop()
    return "; ".join(told) + f"; drops.broken {broken}"


# --- triggers ----------------------------------------------------------------------------------------------------

@case("camera", limit=240)
def triggers(line):
    """A triggered part gets a frame exposed after its trigger, and its ids. No frame: missed. A second trigger: busy."""
    line.listen()
    normal = [frame.tobytes() for frame in even()]
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, normal, per_second=4)
    station = line.station(loopback_source(camera.node, format=["GREY"], frames_per_second=4, trigger="triggered",
                                           trigger_limit_ms=4000)).start()
    line.reader.source("ok")
    time.sleep(2)
    expect(not line.reader.of("verdict"), "a verdict without a trigger")
    waits = []
    for number, (frames, verdict) in enumerate([(normal, "normal"), ([f.tobytes() for f in even(128, 255)], "anomalous")] * 3):
        camera.show(frames)
        time.sleep(0.6)  # two frames: what is in the queue by now shows the part before
        part = {"part_id": f"part-{number}", "meas_id": f"look-{number}"}
        mark, asked = line.reader.mark(), datetime.now(timezone.utc)
        line.publish("cmd/trigger", part)
        ack = line.reader.wait("cmd/trigger/ack", lambda m: m["part_id"] == part["part_id"], "an answer", after=mark)
        expect(ack.message["ack"] == "accepted" and ack.message["meas_id"] == part["meas_id"], str(ack.message))
        heard = line.reader.verdict(after=mark)
        expect({key: heard.message[key] for key in part} == part, f"{part}: the verdict says {heard.message}")
        expect(captured(heard) >= datetime.fromisoformat(ack.message["received_at"]), f"{part}: a frame from before it")
        expect(heard.message["verdict"] == verdict, f"{part}: {heard.message['verdict']} where {verdict} is right")
        waits.append((captured(heard) - asked).total_seconds())
    camera.silent = True
    line.publish("cmd/trigger", {"part_id": "first", "meas_id": None})
    line.publish("cmd/trigger", {"part_id": "second", "meas_id": None})
    answers = {}
    for part in ("second", "first"):
        ack = line.reader.wait("cmd/trigger/ack", lambda m: m["part_id"] == part, f"an answer to {part}")
        answers[part] = ack.message["ack"]
        expect(ack.message["reason"], f"{part}: no reason")
    expect(answers == {"first": "missed", "second": "busy"}, str(answers))
    line.publish("cmd/trigger", ["no", "trigger"])
    time.sleep(2)
    expect(station.process.poll() is None, "the station has ended")
    station.stop()
    return f"trigger to exposure {statistics.median(waits):.2f} s (median of {len(waits)}, 4 frames a second)"


@case("camera")
def by_interval(line):
    """With `interval` a part each second is inspected from a camera that gives ten frames."""
    line.listen()
    Vivid(line.ends).load()
    station = line.station(vivid_source(trigger="interval", interval_ms=1000)).start()
    wait_until("five verdicts", lambda: len(line.reader.of("verdict")) >= 6)
    times = [captured(heard) for heard in line.reader.of("verdict")][1:6]
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(times, times[1:])]
    expect(all(0.5 <= gap <= 2.5 for gap in gaps) and 0.8 <= statistics.mean(gaps) <= 1.3, f"gaps {gaps}")
    station.stop()
    return f"gaps {', '.join(f'{gap:.2f}' for gap in gaps)} s"


# --- rates -------------------------------------------------------------------------------------------------------

def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def streamed(node, pid, seconds):
    """Frames a second that a reader takes, frames that it missed, and its share of a core."""
    before = cpu_seconds(pid)
    taken, missed = Dequeued(node).count(seconds)
    return taken / seconds, missed, (cpu_seconds(pid) - before) / seconds


@case("camera", limit=300)
def capture_rate(line):
    """With inference paused (waiting for a trigger: frames are taken and thrown away) the station takes at least 0.95 of
    the frames that a bare v4l2-ctl takes, at the highest rate that this sustains without a drop; both counted by the kernel."""
    line.listen()
    vivid = Vivid(line.ends).load()
    node, seconds = vivid.node(), 12
    for rate in (40, 30, 25, 15, 10, 5):
        bare = subprocess.Popen(["v4l2-ctl", "-d", node, "-v", f"width={WIDTH},height={HEIGHT},pixelformat=YUYV", "-p",
                                 str(rate), "--stream-mmap=4", "--stream-count=100000"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        line.ends.callback(bare.kill)
        time.sleep(3)
        taken, missed, cpu = streamed(node, bare.pid, seconds)
        bare.kill()
        bare.wait()
        if missed == 0 and taken >= 0.97 * rate:
            break
    expect(missed == 0, f"v4l2-ctl itself drops at {rate} a second: {missed}")
    station = line.station(vivid_source(frames_per_second=rate, trigger="triggered")).start()
    line.reader.source("ok")
    time.sleep(5)
    ours, ours_missed, ours_cpu = streamed(node, station.process.pid, seconds)
    station.stop()
    told = (f"at {rate} frames a second: v4l2-ctl {taken:.1f}/s with {cpu:.0%} of a core, waiting for a trigger "
            f"{ours:.1f}/s with {ours_cpu:.0%} (missed {ours_missed}), ratio {ours / taken:.3f}")
    expect(ours >= 0.95 * taken, told)
    return told


@case("camera", limit=240)
def newest_frame_wins(line):
    """With inference slower than the camera every frame is a verdict or a counted drop, gaps of the driver too, and no
    verdict is about an old frame."""
    line.listen()
    vivid = Vivid(line.ends).load()
    vivid.set(vivid.node(), percentage_of_dropped_buffers=10)
    station = line.station(vivid_source(frames_per_second=30), smoothing={"batch": 1}).start()
    wait_until("verdicts", lambda: len(line.reader.of("verdict")) >= 10)

    def accounted():
        message = line.reader.of("status")[-1].message
        drops = message["drops"]
        return sum(message["verdicts"].values()) + sum(drops[c] for c in ("newer_frame", "broken", "stale")), drops

    first_status = line.reader.of("status")[-1].message
    taken, missed = Dequeued(vivid.node()).count(20)
    station.stop()
    rows = station.rows()
    line.reader.wait("status", lambda m: m["state"] == "stopped", "stopped")
    total, drops = accounted()
    numbers = [heard.message["latency_ms"] for heard in line.reader.of("verdict")][3:]
    queued = statistics.median(latency["queue"] for latency in numbers)
    infer = statistics.median(latency["infer"] for latency in numbers)
    expect(drops["newer_frame"] > 0, f"nothing gave way: the case shows nothing (infer {infer:.0f} ms)")
    expect(drops["driver"] > 0, f"the driver's gaps are not counted: {drops}")
    share = drops["driver"] / (total + drops["driver"])
    kernel = missed / (taken + missed)
    expect(abs(share - kernel) < 0.05, f"driver drops are {share:.1%} of all frames by status, {kernel:.1%} by the kernel")
    expect(queued <= infer + 1000 / 30 + 50, f"frames wait {queued:.0f} ms where one call takes {infer:.0f} ms")
    expect(sum(first_status["verdicts"].values()) <= len(rows), "verdicts are missing from the log")
    return (f"{len(rows)} verdicts, drops {drops}; by the kernel {missed} of {taken + missed} frames missed; "
            f"waited {queued:.0f} ms, inferred {infer:.0f} ms (medians)")


@case("camera")
def latency_breakdown(line):
    """From the frame to the reader, piece by piece (a breakdown only: the machine is emulated; a stand-in for the model)."""
    line.listen()
    # Parts that are normal: of the others evidence is written before the verdict goes out.
    camera = Loopback(line.ends).load().feed("GREY", 320, 240, [frame.tobytes() for frame in even()], per_second=2)
    station = line.station(loopback_source(camera.node, format=["GREY"])).start()
    wait_until("twenty verdicts", lambda: len(line.reader.of("verdict")) >= 22)
    offset = time.time() - time.monotonic()
    pieces = {}
    for heard in line.reader.of("verdict")[2:]:
        for piece, milliseconds in heard.message["latency_ms"].items():
            pieces.setdefault(piece, []).append(milliseconds)
        arrived = 1000 * (heard.at + offset - captured(heard).timestamp())
        pieces.setdefault("to the reader", []).append(arrived)
    station.stop()
    return ", ".join(f"{name} {statistics.median(all_of):.0f} (max {max(all_of):.0f})" for name, all_of in pieces.items()) + " ms"
