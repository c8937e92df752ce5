//! Shared by the integration tests: brokers, stations, bundles and pictures to test with, and waiting for a state.

pub(crate) mod broker;
pub(crate) mod bundles;
pub(crate) mod faulty;
pub(crate) mod inspections;
pub(crate) mod line;
pub(crate) mod metrics;
pub(crate) mod noise;
pub(crate) mod packets;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod schemas;
pub(crate) mod scripted;
pub(crate) mod service_manager;
pub(crate) mod station;
pub(crate) mod station_config;
pub(crate) mod subscriber;

use std::io::Write;
use std::time::{Duration, Instant};

/// How long a test waits for a state: far longer than needed, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `state` holds. The test fails with `what` when it does not in time.
pub(crate) fn wait_until(what: &str, state: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, state);
}

/// Like `wait_until`, for a state that may take longer.
pub(crate) fn wait_within(limit: Duration, what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !state() {
        assert!(Instant::now() < deadline, "after {limit:?} it is still not true that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a line to the terminal, which the test runner does for `println` only when a test fails.
pub(crate) fn say(line: &str) {
    std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Reports in the terminal that the rest of a test is skipped because this machine lacks `thing`. With
/// `CERTISCOPE_REQUIRE_ALL=1`, as in CI, it fails the test instead, unless `CERTISCOPE_CANNOT` (names separated by
/// spaces) contains `thing`.
pub(crate) fn skip(thing: &str, why: &str) {
    let required = std::env::var("CERTISCOPE_REQUIRE_ALL").is_ok_and(|all| all == "1");
    let cannot = std::env::var("CERTISCOPE_CANNOT").unwrap_or_default();
    let line = format!("!!! SKIPPED for want of {thing}: {why}");
    assert!(
        !required || cannot.split_whitespace().any(|name| name == thing),
        "{line}; CERTISCOPE_REQUIRE_ALL=1 makes that a failure: provide it, or set CERTISCOPE_CANNOT={thing}"
    );
    say(&line);
}
