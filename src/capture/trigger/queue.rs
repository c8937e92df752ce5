//! The line's requests for a frame, and the answers to them.
//!
//! [`Triggers`] carries a request from the line to the gate that takes frames; [`Answers`] carries the answer back.
//! Guarantees: one request at a time. Each gets exactly one answer, even if the source fails or the
//! station stops. `accepted` means that its frame waits for inspection and that a verdict follows; `missed`, that no frame
//! could be taken. No lock is held while a line is logged.
//! Leaves out: MQTT (see `publish`); taking the frame (see `gate`).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::capture::Stamp;
use crate::sync::lock;

/// A request of the line: take a frame of this part now.
#[derive(Debug, Clone)]
pub struct TriggerRequest {
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    /// What was left out of these names, for people; `None` if they are as the line sent them.
    pub left_out: Option<String>,
    pub received: Stamp,
}

/// The outcome of a request. The words are part of the contract (`ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    /// A frame was taken; its verdict follows.
    Accepted,
    /// An earlier request has no frame yet, or there is no room for it.
    Busy,
    /// No frame could be taken.
    Missed,
    /// The request could not be understood.
    Refused,
}

impl Ack {
    const ALL: [Self; 4] = [Self::Accepted, Self::Busy, Self::Missed, Self::Refused];

    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Busy => "busy",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    pub received_at: jiff::Timestamp,
    pub ack: Ack,
    /// For the person who must act. An accepted one has none, unless something was left out of its names.
    pub reason: Option<String>,
}

/// Answers on their way to the line.
pub(crate) type Answers = mpsc::Receiver<Answer>;

/// How many answers may wait for the line, each of some hundred bytes. A broker gives a station about a thousand triggers that came
/// at once; each gets its answer.
const ANSWERS: usize = 4096;

/// Hands the line's requests to the gate, one at a time.
#[derive(Debug, Clone)]
pub struct Triggers(Arc<TriggerQueue>);

#[derive(Debug)]
struct TriggerQueue {
    state: Mutex<TriggerQueueState>,
    arrived: Condvar,
    answers: mpsc::Sender<Answer>,
}

#[derive(Debug)]
struct TriggerQueueState {
    slot: Slot,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Holds a request from its arrival until its frame waits for inspection.
    Taken(TriggerRequest),
    /// No frames are taken any more.
    Closed,
}

impl Triggers {
    pub(in crate::capture) fn new() -> (Self, Answers) {
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let counts = Ack::ALL.map(|ack| (ack.word(), 0)).into();
        let state = Mutex::new(TriggerQueueState { slot: Slot::Free, counts });
        (Self(Arc::new(TriggerQueue { state, arrived: Condvar::new(), answers })), receiver)
    }

    /// Asks for a frame of this part. Never waits; the answer is sent when the outcome is known.
    pub fn ask(&self, request: TriggerRequest) {
        let mut state = self.state();
        let log = match &state.slot {
            Slot::Free => {
                state.slot = Slot::Taken(request);
                self.0.arrived.notify_all();
                return;
            }
            Slot::Taken(earlier) => {
                let part = earlier.part_id.as_deref().unwrap_or("without a name");
                let reason =
                    format!("part {part}, triggered before it, still waits for its frame or for room");
                self.answer(&mut state, Some(&request), Ack::Busy, Some(reason))
            }
            Slot::Closed => self.answer(&mut state, Some(&request), Ack::Missed, Some(STOPS.to_owned())),
        };
        drop(state);
        log.write();
    }

    /// Answers a request that could not be understood.
    pub fn refuse(&self, why: String) {
        let mut state = self.state();
        let log = self.answer(&mut state, None, Ack::Refused, Some(why));
        drop(state);
        log.write();
    }

    /// How many answers were given since the start, by their words.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// Waits for a request, at most `limit`.
    pub(in crate::capture) fn wait(&self, limit: Duration) {
        let nothing = |state: &mut TriggerQueueState| matches!(state.slot, Slot::Free);
        let _ = self.0.arrived.wait_timeout_while(self.state(), limit, nothing);
    }

    pub(in crate::capture) fn pending(&self) -> Option<TriggerRequest> {
        match &self.state().slot {
            Slot::Taken(request) => Some(request.clone()),
            Slot::Free | Slot::Closed => None,
        }
    }

    /// Answers the pending request, where there is one, and makes room for the next.
    pub(in crate::capture) fn settle(&self, ack: Ack, reason: Option<String>) {
        self.leave(Slot::Free, ack, reason);
    }

    pub(in crate::capture) fn close(&self) {
        self.leave(Slot::Closed, Ack::Missed, Some(STOPS.to_owned()));
    }

    fn leave(&self, slot: Slot, ack: Ack, reason: Option<String>) {
        let mut state = self.state();
        let Slot::Taken(request) = std::mem::replace(&mut state.slot, slot) else {
            return;
        };
        let log = self.answer(&mut state, Some(&request), ack, reason);
        drop(state);
        log.write();
    }

    /// Counts and sends an answer. Returns what to log once the lock is released.
    fn answer(
        &self,
        state: &mut TriggerQueueState,
        request: Option<&TriggerRequest>,
        ack: Ack,
        reason: Option<String>,
    ) -> AnswerLog {
        *state.counts.entry(ack.word()).or_default() += 1;
        let left_out = request.and_then(|request| request.left_out.clone());
        let reason = match (reason, left_out) {
            (Some(reason), Some(left_out)) => Some(format!("{reason}; {left_out}")),
            (reason, left_out) => reason.or(left_out),
        };
        let answer = Answer {
            part_id: request.and_then(|request| request.part_id.clone()),
            meas_id: request.and_then(|request| request.meas_id.clone()),
            received_at: request.map_or_else(jiff::Timestamp::now, |request| request.received.wall),
            ack,
            reason,
        };
        let (part, reason) = (answer.part_id.clone(), answer.reason.clone());
        let dropped = self.0.answers.try_send(answer).is_err();
        AnswerLog { part, ack, reason, dropped }
    }

    fn state(&self) -> MutexGuard<'_, TriggerQueueState> {
        lock(&self.0.state)
    }
}

/// What is logged about an answer.
#[must_use]
struct AnswerLog {
    part: Option<String>,
    ack: Ack,
    reason: Option<String>,
    /// The queue is full, because the line does not read its answers.
    dropped: bool,
}

impl AnswerLog {
    fn write(self) {
        if let Some(reason) = &self.reason {
            tracing::warn!(part = self.part, "trigger {}: {reason}", self.ack.word());
        }
        if self.dropped {
            tracing::warn!("an answer to a trigger is dropped: {ANSWERS} of them wait for the line");
        }
    }
}

/// The reason given to a request that comes too late.
const STOPS: &str = "the station stops";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A journal that notes of each line whether the queue was locked while it was written.
    #[derive(Clone)]
    struct Journal {
        queue: Arc<TriggerQueue>,
        locked: Arc<Mutex<Vec<bool>>>,
    }

    impl io::Write for Journal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.locked).push(self.queue.state.try_lock().is_err());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_lock_is_held_while_a_line_is_logged() {
        let request = |part: &str| TriggerRequest {
            part_id: Some(part.to_owned()),
            meas_id: None,
            left_out: None,
            received: Stamp::now(),
        };
        let (triggers, answers) = Triggers::new();
        let journal = Journal { queue: Arc::clone(&triggers.0), locked: Arc::default() };
        let locked = Arc::clone(&journal.locked);
        let subscriber = tracing_subscriber::fmt().with_writer(move || journal.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            triggers.ask(request("A"));
            triggers.ask(request("B")); // busy
            triggers.refuse("no JSON".to_owned());
            triggers.settle(Ack::Missed, Some("no frame".to_owned()));
            drop(answers);
            triggers.ask(request("C"));
            triggers.close(); // missed, and its answer is dropped
            triggers.ask(request("D")); // the same
        });
        assert_eq!(*lock(&locked), [false; 7]);
    }
}
