"""What a test needs of the machine. Without it the test is skipped, loudly; in CI it fails, as in Rust."""

import os
import subprocess
from contextlib import contextmanager

import pytest


def skip(thing, why):
    """End the test because this machine lacks `thing`. CERTISCOPE_REQUIRE_ALL=1 makes that a failure, unless
    CERTISCOPE_CANNOT names it."""
    line = f"!!! SKIPPED for want of {thing}: {why}"
    if os.environ.get("CERTISCOPE_REQUIRE_ALL") == "1" and thing not in os.environ.get("CERTISCOPE_CANNOT", "").split():
        pytest.fail(f"{line}; CERTISCOPE_REQUIRE_ALL=1 forbids that: provide it, or set CERTISCOPE_CANNOT={thing}")
    pytest.skip(line)


@contextmanager
def small_disk(folder, mib):
    """A file system of `mib` MiB at the new folder `folder`, until the end of the block."""
    folder.mkdir()
    options = f"size={mib}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        skip("mount", f"a small file system cannot be mounted: {mounted.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
