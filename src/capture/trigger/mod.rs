//! When a frame is taken from a source, and the line's requests for one.
//!
//! `queue` holds the line's request until its frame is taken and answers it: `accepted`, `busy`, `missed` or `refused`.
//! `gate` stands between the source and the inspection and lets a frame through only when one is wanted.
//! Leaves out: MQTT, which brings the requests and carries the answers (see `publish`).

mod gate;
mod queue;

pub(crate) use gate::{Trigger, TriggerGate};
pub(crate) use queue::{Ack, Answer, Answers, TriggerRequest, Triggers};
