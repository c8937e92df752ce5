"""The machine whose power is cut: a station that starts with it, and after each boot a list of what its log holds."""

import json
import os
import subprocess
import time
from pathlib import Path

import service

# A broker of the host, seen from the machine.
HOST = "10.0.2.2"
CAMERA = {"kind": "camera", "device": "/dev/v4l/by-path/platform-vivid.0-video-index0", "width_px": 640, "height_px": 360,
          "frames_per_second": 10, "format": ["YUYV"]}


def prepare(port):
    """Run once: sets up a camera that is there at each boot, and enables the service."""
    Path("/etc/modules-load.d/camera.conf").write_text("vivid\n")
    Path("/etc/modprobe.d/camera.conf").write_text("options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0\n")
    subprocess.run(["modprobe", "vivid"], check=True)
    service.install()
    service.configure(CAMERA, broker={"host": HOST, "port": port}, store={"min_free_mb": 0})
    subprocess.run(["systemctl", "enable", service.UNIT], check=True)
    os.sync()  # the power cuts test the running station, not its installation
    subprocess.run(["systemctl", "start", service.UNIT], check=True)


def stand(share, port):
    """Lists the rows of the inspection log, then lets the station work until the power is cut, and copies the journal out."""
    if not service.CONFIGURATION.exists():
        prepare(port)
    rows = []
    if list(service.STATE.glob("*.db")):
        asked = ["certiscope", "inspections", "export", "--store", str(service.STATE), "--format", "jsonl"]
        told = subprocess.run(asked, capture_output=True, text=True)
        if told.returncode != 0:
            rows = None
            print(told.stderr, flush=True)
        else:
            rows = [[row["boot_id"], row["seq"]] for row in map(json.loads, told.stdout.splitlines())]
    unfinished = share / "stored.unfinished"
    unfinished.write_text(json.dumps(rows))
    unfinished.rename(share / "stored.json")
    while True:
        with open(share / "journal.txt", "wb") as journal:
            subprocess.run(["journalctl", "--boot", "--no-pager", "--output", "short-precise"], stdout=journal)
        time.sleep(20)
