//! Shared by the integration tests: finding things, waiting on state.

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
pub(crate) mod subscriber;

use std::io::Write;
use std::time::{Duration, Instant};

/// Far beyond what any state below needs, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `state` holds; a state that never comes fails the test by its name.
pub(crate) fn wait_until(what: &str, state: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, state);
}

/// The same for a state that may take longer.
pub(crate) fn wait_within(limit: Duration, what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !state() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line to the terminal: the test runner keeps what `println` says to itself.
pub(crate) fn say(line: &str) {
    std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}
