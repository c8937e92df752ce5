//! Runs driver calls that may hang, each on a separate thread. The caller waits with a limit.
//!
//! Dropping the handle detaches the thread: the call goes on, and its result is dropped.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// A driver call that was started.
pub(super) struct DriverCall<T>(Receiver<T>);

impl<T: Send + 'static> DriverCall<T> {
    pub(super) fn begin(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (done, outcome) = sync_channel(1);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // The handle may have been dropped.
            let _ = done.send(work());
        })?;
        Ok(Self(outcome))
    }

    /// The result, if there is one within the limit. It is handed out once.
    pub(super) fn wait(&self, limit: Duration) -> Option<T> {
        match self.0.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            // The result was handed out before. (A panic of the thread ends the process.)
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_blocks_no_caller_and_a_result_is_handed_out_once() {
        let (release, held) = sync_channel::<()>(0);
        let work = DriverCall::begin("held", move || held.recv().is_ok()).unwrap();
        assert_eq!(work.wait(Duration::from_millis(5)), None);
        release.send(()).unwrap();
        assert_eq!(work.wait(Duration::from_secs(30)), Some(true));
        assert_eq!(work.wait(Duration::ZERO), None);
    }
}
