//! The line's requests for a frame, and the answers to them.
//!
//! [`Triggers`] is the way from the line to the gate that takes frames, [`Answers`] the way back.
//! Guarantees: one request at a time; every one gets exactly one answer, however the source fares and whenever the
//! station stops; `accepted` means that its frame waits for inspection and that a verdict follows.
//! Leaves out: MQTT (see `publish`); taking the frame (see `gate`).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::capture::Stamp;

/// What the line asks for: a look at this part, now.
#[derive(Debug, Clone)]
pub struct TriggerRequest {
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    pub received: Stamp,
}

/// What became of a request. The words are part of the contract (`ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    /// A frame was taken; its verdict follows.
    Accepted,
    /// An earlier request has no frame yet, or there is no room for it.
    Busy,
    /// No frame could be taken.
    Missed,
    /// It was no request that could be understood.
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
    /// For the person who must act; `None` for an accepted one.
    pub reason: Option<String>,
}

/// Answers on their way to the line.
pub type Answers = mpsc::Receiver<Answer>;

/// Answers that may wait for the line. More can only come of a line that asks without listening.
const ANSWERS: usize = 64;

/// The line's way to the gate: one request at a time.
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
    /// From its arrival until its frame waits for inspection.
    Taken(TriggerRequest),
    /// Nobody takes frames any more.
    Closed,
}

impl Triggers {
    pub(in crate::capture) fn new() -> (Self, Answers) {
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let counts = Ack::ALL.map(|ack| (ack.word(), 0)).into();
        let state = Mutex::new(TriggerQueueState { slot: Slot::Free, counts });
        (Self(Arc::new(TriggerQueue { state, arrived: Condvar::new(), answers })), receiver)
    }

    /// Asks for a frame of this part. Never waits; the answer comes when its fate is known.
    pub fn ask(&self, request: TriggerRequest) {
        let mut state = self.state();
        match &state.slot {
            Slot::Free => {
                state.slot = Slot::Taken(request);
                self.0.arrived.notify_all();
            }
            Slot::Taken(earlier) => {
                let part = earlier.part_id.as_deref().unwrap_or("without a name");
                let reason = format!("part {part}, triggered before it, is not taken over yet");
                self.answer(&mut state, Some(&request), Ack::Busy, Some(reason));
            }
            Slot::Closed => {
                self.answer(&mut state, Some(&request), Ack::Missed, Some(STOPS.to_owned()));
            }
        }
    }

    /// Answers what could not be understood.
    pub fn refuse(&self, why: String) {
        self.answer(&mut self.state(), None, Ack::Refused, Some(why));
    }

    /// Answers since the start, by their words.
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
        if let Slot::Taken(request) = std::mem::replace(&mut state.slot, slot) {
            self.answer(&mut state, Some(&request), ack, reason);
        }
    }

    fn answer(
        &self,
        state: &mut TriggerQueueState,
        request: Option<&TriggerRequest>,
        ack: Ack,
        reason: Option<String>,
    ) {
        *state.counts.entry(ack.word()).or_default() += 1;
        let answer = Answer {
            part_id: request.and_then(|request| request.part_id.clone()),
            meas_id: request.and_then(|request| request.meas_id.clone()),
            received_at: request.map_or_else(jiff::Timestamp::now, |request| request.received.wall),
            ack,
            reason,
        };
        if let Some(reason) = &answer.reason {
            tracing::warn!(part = answer.part_id, "trigger {}: {reason}", ack.word());
        }
        if self.0.answers.try_send(answer).is_err() {
            tracing::warn!("an answer to a trigger is dropped: {ANSWERS} of them wait for the line");
        }
    }

    fn state(&self) -> MutexGuard<'_, TriggerQueueState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request is told that comes too late.
const STOPS: &str = "the station stops";
