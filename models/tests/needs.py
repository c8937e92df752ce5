"""What a test needs of the machine. Without it the test is skipped, loudly; in CI it fails, as in Rust."""

import os

import pytest


def skip(thing, why):
    """End the test because this machine lacks `thing`. CERTISCOPE_REQUIRE_ALL=1 makes that a failure, unless
    CERTISCOPE_CANNOT names it."""
    line = f"!!! SKIPPED for want of {thing}: {why}"
    if os.environ.get("CERTISCOPE_REQUIRE_ALL") == "1" and thing not in os.environ.get("CERTISCOPE_CANNOT", "").split():
        pytest.fail(f"{line}; CERTISCOPE_REQUIRE_ALL=1 forbids that: provide it, or set CERTISCOPE_CANNOT={thing}")
    pytest.skip(line)
