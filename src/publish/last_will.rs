//! The `status` messages, which the broker retains. The agent sends `online`, and `stopped` as its last message. If the
//! connection breaks, the broker sends `offline` instead of the agent (Last Will).

use jiff::Timestamp;

use super::context::PublishContext;
use super::link::{Class, Letter};
use super::wire::{self, AgentState};

/// The Last Will, which is part of CONNECT. After an orderly DISCONNECT the broker does not send it.
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
