//! Work that may hang in a driver, on a thread of its own: who waits for it waits as long as it likes.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Work that was begun; let go of, it goes on by itself and its outcome is dropped there.
pub(super) struct DriverCall<T>(Receiver<T>);

impl<T: Send + 'static> DriverCall<T> {
    pub(super) fn begin(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (done, outcome) = sync_channel(1);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Nobody may be waiting any more.
            let _ = done.send(work());
        })?;
        Ok(Self(outcome))
    }

    /// The outcome, once, if it is there within the limit.
    pub(super) fn wait(&self, limit: Duration) -> Option<T> {
        match self.0.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            // Taken before, or the thread panicked, which ends the process.
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_keeps_nobody_and_what_is_done_is_had_once() {
        let (release, held) = sync_channel::<()>(0);
        let work = DriverCall::begin("held", move || held.recv().is_ok()).unwrap();
        assert_eq!(work.wait(Duration::from_millis(5)), None);
        release.send(()).unwrap();
        assert_eq!(work.wait(Duration::from_secs(30)), Some(true));
        assert_eq!(work.wait(Duration::ZERO), None);
    }
}
