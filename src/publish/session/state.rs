//! What one connection knows: how far each lane has been sent, and what the broker has not answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval};

use crate::publish::broker::BrokerFault;
use crate::publish::context::{Progress, PublishContext};
use crate::publish::heartbeat;
use crate::publish::lane::{Lane, Shown, Stretch};
use crate::publish::link::{BrokerLimits, Link};
use crate::store::{RowId, StoreError};

/// Verdicts that may be unanswered; well below what [`Link`] and a broker's default (20) hold.
pub(super) const WINDOW: usize = 16;

/// Of what the broker takes, what is kept for `last` and `status`.
const SHOWN: usize = 2;

/// And for answers to commands; more of them wait.
pub(super) const ANSWERS: usize = 2;

/// Acknowledged rows that are taken out of the outbox together, at the latest each second.
pub(super) const ACKNOWLEDGED_BATCH: usize = 32;

/// Tells our messages apart when the broker answers for them.
pub(in crate::publish) enum Sent {
    Verdict(RowId),
    Last,
    Status,
    Answer,
    Stopped,
    Heartbeat,
}

/// A verdict that the broker has not answered for.
pub(super) struct InFlight {
    pub(super) lane: Lane,
    pub(super) captured_at: Option<Timestamp>,
}

/// Why a session ended without being asked to.
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

/// What one connection knows.
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
    /// Verdicts that the broker has not answered for.
    pub(super) in_flight: BTreeMap<RowId, InFlight>,
    /// How many of these the broker and we allow.
    pub(super) most_in_flight: usize,
    /// There may be a newer verdict in the log than was sent as `last`.
    pub(super) last_due: bool,
    pub(super) last: Shown<RowId>,
    pub(super) status: Shown<Vec<u8>>,
    pub(super) seconds: Interval,
    /// Answers to commands that the broker has not answered for.
    pub(super) answers_in_flight: usize,
    /// Set once shutdown is asked: when draining ends.
    pub(super) leaving: Option<Instant>,
}

impl<'a> Session<'a> {
    /// On a link that has just been accepted.
    pub(in crate::publish) fn new(
        context: &'a mut PublishContext,
        progress: &'a mut Progress,
        link: Link<Sent>,
        limits: BrokerLimits,
    ) -> Self {
        let mut newest = context.store.newest_row();
        let before = *newest.borrow_and_update();
        let since = context.connected(); // announced after `before` is read: what is committed from now on is live
        Self {
            context,
            link,
            newest,
            before,
            since,
            live: Stretch { sent: before, until: RowId::END, may_have_more: true },
            backlog: Stretch { sent: RowId::START, until: before, may_have_more: true },
            in_flight: BTreeMap::new(),
            most_in_flight: limits.unacknowledged.saturating_sub(SHOWN + ANSWERS).clamp(1, WINDOW),
            progress,
            last_due: true,
            last: Shown::new(RowId::START),
            status: Shown::new(Vec::new()),
            seconds: heartbeat::ticks(),
            answers_in_flight: 0,
            leaving: None,
        }
    }
}
