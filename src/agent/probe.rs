//! A question to the system that may never be answered (the room on a network disk, a file on it), asked again and again
//! on a thread of its own.
//!
//! Guarantees: reading the newest answer never waits; how long the present question has been open is known.
//! The thread ends after the handle is dropped, unless the system never answers; nobody waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use crate::pulse::Pulse;

/// Asks for the room on the disk of a path, bytes; `None` where the system does not say. It may never return.
pub type DiskProbe = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// How long the start waits for the first answer.
const FIRST_ANSWER: Duration = Duration::from_millis(200);

/// The newest answer to a question.
pub(super) struct Probe<T> {
    newest: watch::Receiver<T>,
    pulse: Pulse,
    /// Dropped with the handle, which ends the thread.
    _alive: Sender<()>,
}

impl<T: Clone + Send + Sync + 'static> Probe<T> {
    /// Asks at once and then with `pause` in between; `unanswered` is the answer until the first one comes.
    pub(super) fn start(
        name: &str,
        unanswered: T,
        pause: Duration,
        mut ask: impl FnMut() -> T + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (answers, newest) = watch::channel(unanswered);
        let (alive, ended) = channel::<()>();
        let (answered, first) = channel::<()>();
        let pulse = Pulse::default();
        let beat = pulse.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                loop {
                    beat.at_work();
                    answers.send_replace(ask());
                    beat.idle();
                    let _ = answered.send(()); // only the first one is waited for
                    if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })
            .with_context(|| format!("thread {name}: the system allows no more threads or memory"))?;
        let _ = first.recv_timeout(FIRST_ANSWER);
        Ok(Self { newest, pulse, _alive: alive })
    }

    pub(super) fn newest(&self) -> T {
        self.newest.borrow().clone()
    }

    /// A reader of the newest answer for another thread.
    pub(super) fn reader(&self) -> watch::Receiver<T> {
        self.newest.clone()
    }

    /// How long the present question has been open; `None` between two questions.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.pulse.working_for()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_question_that_is_never_answered_holds_nobody_up() {
        let (release, held) = channel::<()>();
        let mut asked = 0;
        let probe = Probe::start("probe", 0, Duration::from_millis(1), move || {
            asked += 1;
            if asked == 2 {
                let _ = held.recv();
            }
            asked
        })
        .unwrap();
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
