//! One connection as the pump uses it: `conversation` runs it, `lanes` sends the outbox, `answers` records what the broker
//! says, `state` is what they share.

mod answers;
mod conversation;
mod lanes;
mod state;

pub(super) use state::{Session, SessionEnd};
