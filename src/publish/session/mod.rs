//! What happens on one connection. `conversation` is its loop, `lanes` sends the outbox, `answers` records the broker's
//! answers, `state` is what the three share.

mod answers;
mod conversation;
mod lanes;
mod state;

pub(super) use state::{Session, SessionEnd};
