//! Shared by the integration tests: finding things, waiting on state.

pub(crate) mod broker;
pub(crate) mod bundles;
pub(crate) mod faulty;
pub(crate) mod inspections;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod station;
pub(crate) mod subscriber;

use std::time::{Duration, Instant};

/// Far beyond what any state below needs, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `state` holds; a state that never comes fails the test by its name.
pub(crate) fn wait_until(what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !state() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
