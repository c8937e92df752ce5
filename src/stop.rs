//! A request to stop, made by a signal or by a thread of the agent; and the decision to end at once.
//!
//! Guarantees: a request wakes all waiting threads at once and cannot be withdrawn. Each station has a child of the process's
//! `Stop`: stopping the process stops every station, stopping a station stops nothing else. Once the process ends at once, nothing
//! is committed any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use crate::sync::{lock, wait_while};

/// Whether the process is about to end without an ordered stop. One for the process, as its end is.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Decides that the process ends at once. The caller ends it next.
pub fn end_at_once() {
    ENDS_AT_ONCE.store(true, Ordering::SeqCst);
}

/// Call this before a commit. It does not return once the process ends at once: what is then in hand was cut short.
pub(crate) fn hold_if_ending_at_once() {
    while ENDS_AT_ONCE.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Whether a stop is requested. Shared by the threads that may request it and those that must stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    request: Mutex<RequestState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct RequestState {
    made: bool,
    children: Vec<Weak<Shared>>,
}

impl Stop {
    /// A new `Stop` for a part of what this one stops. It is requested when this one is, and can be requested before.
    pub fn child(&self) -> Self {
        let mut request = lock(&self.0.request);
        let child = Arc::new(Shared {
            request: Mutex::new(RequestState { made: request.made, children: Vec::new() }),
            changed: Condvar::new(),
        });
        request.children.push(Arc::downgrade(&child));
        Self(child)
    }

    /// Requests a stop. Requesting it again changes nothing.
    pub fn request(&self) {
        self.0.make();
    }

    pub fn requested(&self) -> bool {
        lock(&self.0.request).made
    }

    /// Waits for a request, at most `limit`. Returns whether there is one.
    pub fn wait(&self, limit: Duration) -> bool {
        let waits = |request: &mut RequestState| !request.made;
        wait_while(&self.0.changed, lock(&self.0.request), limit, waits).made
    }
}

impl Shared {
    fn make(&self) {
        let children = {
            let mut request = lock(&self.request);
            request.made = true;
            std::mem::take(&mut request.children)
        };
        self.changed.notify_all();
        for child in children.iter().filter_map(Weak::upgrade) {
            child.make();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn a_station_stops_with_its_process_and_not_the_other_way_round() {
        let process = Stop::default();
        let (first, second) = (process.child(), process.child());
        first.request();
        assert!(first.wait(AT_ONCE) && !second.wait(AT_ONCE) && !process.requested());
        process.request();
        assert!(second.wait(AT_ONCE) && process.child().requested());
    }

    #[test]
    fn every_thread_that_waits_wakes_at_once() {
        let process = Stop::default();
        let station = process.child();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| station.wait(Duration::from_secs(60)));
            process.request();
            assert!(waiting.join().unwrap());
        });
    }
}
