//! Repeats a system call that may never return (free space of a network disk, a file on it) on a separate thread.
//!
//! Guarantees: reading the newest answer never waits. It is known how long the present call has been running. The thread ends
//! after the handle is dropped, unless its call never returns; no other thread waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use crate::pulse::Pulse;

/// Reads the free space, in bytes, on the disk of a path; `None` if the system does not know it. It may never return.
pub type DiskProbe = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// How long [`Probe::answered`] waits for the first answer.
const FIRST_ANSWER: Duration = Duration::from_millis(200);

/// A system call that is repeated, and its newest answer.
pub(super) struct Probe<T> {
    newest: watch::Receiver<T>,
    pulse: Pulse,
    /// Gets something when there is a first answer.
    first: Receiver<()>,
    /// Dropped with the handle, which ends the thread.
    _alive: Sender<()>,
}

impl<T: Clone + Send + Sync + 'static> Probe<T> {
    /// Asks at once, and again `pause` after each answer. Until the first answer comes, the answer is `unanswered`.
    pub(super) fn start(
        name: &str,
        unanswered: T,
        pause: Duration,
        mut ask: impl FnMut() -> T + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (answers, newest) = watch::channel(unanswered);
        let (alive, ended) = channel::<()>();
        let (answered, first) = sync_channel::<()>(1);
        let pulse = Pulse::default();
        let beat = pulse.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                loop {
                    beat.at_work();
                    answers.send_replace(ask());
                    beat.idle();
                    let _ = answered.try_send(()); // only the first one is waited for
                    if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })
            .with_context(|| format!("thread {name}: the system allows no more threads or memory"))?;
        Ok(Self { newest, pulse, first, _alive: alive })
    }

    /// Waits a moment for the first answer.
    pub(super) fn answered(self) -> Self {
        let _ = self.first.recv_timeout(FIRST_ANSWER); // without one, `unanswered` stays
        self
    }

    pub(super) fn newest(&self) -> T {
        self.newest.borrow().clone()
    }

    /// A reader of the newest answer for another thread.
    pub(super) fn reader(&self) -> watch::Receiver<T> {
        self.newest.clone()
    }

    /// How long the present call has been running; `None` between two calls.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.pulse.working_for()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_question_that_is_never_answered_makes_no_reader_wait() {
        let (release, held) = channel::<()>();
        let mut asked = 0;
        let probe = Probe::start("probe", 0, Duration::from_millis(1), move || {
            asked += 1;
            if asked == 2 {
                let _ = held.recv();
            }
            asked
        })
        .unwrap()
        .answered();
        assert_eq!(probe.newest(), 1, "the first answer is there from the start");
        let open = || probe.open_for().is_some_and(|open| open > Duration::from_millis(50));
        while !open() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(probe.newest(), 1);
        drop(release);
        while probe.newest() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
