//! The `status` messages, which the broker keeps: `online` from the agent, `stopped` as its last one, and `offline` from the
//! broker in the agent's place when the connection breaks (Last Will).

use jiff::Timestamp;

use super::context::PublishContext;
use super::link::{Class, Letter};
use super::wire::{self, AgentState};

/// Handed to the broker with CONNECT. An orderly DISCONNECT makes the broker forget it.
pub(super) fn will(context: &PublishContext) -> Letter {
    status(context, AgentState::Offline, None)
}

pub(super) fn online(context: &PublishContext, since: Timestamp) -> Letter {
    status(context, AgentState::Online, Some(since))
}

pub(super) fn stopped(context: &PublishContext) -> Letter {
    status(context, AgentState::Stopped, Some(Timestamp::now()))
}

fn status(context: &PublishContext, state: AgentState, since: Option<Timestamp>) -> Letter {
    let message = wire::status(
        context.origin.boot_id,
        state,
        since,
        Timestamp::now(),
        &context.status.borrow(),
        &context.outbox.borrow(),
    );
    Letter { topic: context.topics.status(), payload: message.into_bytes(), class: Class::Retained }
}
