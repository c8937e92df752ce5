//! The state of one connection: how far each lane has been sent, and what the broker has not answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval};

use crate::publish::broker::BrokerFault;
use crate::publish::context::{Progress, PublishContext};
use crate::publish::heartbeat;
use crate::publish::lane::{Lane, RetainedMessage, Stretch};
use crate::publish::link::{BrokerLimits, Link};
use crate::store::{RowId, StoreError};

/// How many verdicts may be unanswered. Well below the limit of [`Link`] and a broker's usual default (20).
pub(super) const WINDOW: usize = 16;

/// How many unanswered messages are reserved for `last` and `status`.
const RETAINED: usize = 2;

/// How many are reserved for answers to commands; further answers wait.
pub(super) const ANSWERS: usize = 2;

/// After so many acknowledgements the rows are deleted from the outbox; otherwise each second.
pub(super) const ACKNOWLEDGED_BATCH: usize = 32;

/// What a message was, for when the broker answers it.
pub(in crate::publish) enum Sent {
    Verdict(RowId),
    Last,
    Status,
    Answer,
    Stopped,
    Heartbeat,
}

/// A verdict that the broker has not answered.
pub(super) struct InFlight {
    pub(super) lane: Lane,
    pub(super) captured_at: Option<Timestamp>,
}

/// The fault that ended a session.
pub(in crate::publish) enum SessionEnd {
    Broker(BrokerFault),
    Store(StoreError),
}

impl From<BrokerFault> for SessionEnd {
    fn from(fault: BrokerFault) -> Self {
        Self::Broker(fault)
    }
}

impl From<StoreError> for SessionEnd {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The state of one connection.
pub(in crate::publish) struct Session<'a> {
    pub(super) context: &'a mut PublishContext,
    pub(super) progress: &'a mut Progress,
    pub(super) link: Link<Sent>,
    pub(super) newest: watch::Receiver<RowId>,
    /// The newest row when the connection came up: up to here messages are historical.
    pub(super) before: RowId,
    pub(super) since: Timestamp,
    pub(super) live: Stretch,
    pub(super) backlog: Stretch,
    /// Verdicts that the broker has not answered.
    pub(super) in_flight: BTreeMap<RowId, InFlight>,
    /// How many of these there may be.
    pub(super) most_in_flight: usize,
    /// There may be a newer verdict in the log than the one sent as `last`.
    pub(super) last_due: bool,
    pub(super) last: RetainedMessage<RowId>,
    pub(super) status: RetainedMessage<Vec<u8>>,
    pub(super) seconds: Interval,
    /// How many answers to commands the broker has not acknowledged.
    pub(super) answers_in_flight: usize,
    /// Whether `cmd/trigger` is subscribed to.
    pub(super) subscribed: bool,
    /// The deadline for sending the rest of the outbox; set once a shutdown is requested.
    pub(super) leaving: Option<Instant>,
}

impl<'a> Session<'a> {
    /// Begins a session on a link that the broker has just accepted.
    pub(in crate::publish) fn new(
        context: &'a mut PublishContext,
        progress: &'a mut Progress,
        link: Link<Sent>,
        limits: BrokerLimits,
    ) -> Self {
        let mut newest = context.store.newest_row();
        let before = *newest.borrow_and_update();
        let since = context.connected(!progress.losses.suspected()); // announced after `before` is read: what is committed from now on is live
        Self {
            context,
            link,
            newest,
            before,
            since,
            live: Stretch { sent: before, until: RowId::END, may_have_more: true },
            backlog: Stretch { sent: RowId::START, until: before, may_have_more: true },
            in_flight: BTreeMap::new(),
            most_in_flight: limits.unacknowledged.saturating_sub(RETAINED + ANSWERS).clamp(1, WINDOW),
            progress,
            last_due: true,
            last: RetainedMessage::new(RowId::START),
            status: RetainedMessage::new(Vec::new()),
            seconds: heartbeat::ticks(),
            answers_in_flight: 0,
            subscribed: false,
            leaving: None,
        }
    }
}
