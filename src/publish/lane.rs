//! The parts of the outbox (live, backlog, refused), how far each has been sent, and the state of a retained message.

use crate::store::RowId;

/// The kinds of verdicts to send, in order of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Committed after the connection was up.
    Live,
    /// Committed before the connection was up.
    Backlog,
    /// Refused by the broker earlier.
    Refused,
}

/// A part of the outbox, and how far it has been sent.
pub(super) struct Stretch {
    /// The last row that was sent.
    pub(super) sent: RowId,
    /// The last row of this part.
    pub(super) until: RowId,
    /// False once the store has returned no more rows; set again by the next commit.
    pub(super) may_have_more: bool,
}

/// A retained message. Only its newest value counts, so one is in flight at a time.
pub(super) struct RetainedMessage<T> {
    pub(super) in_flight: bool,
    refused: bool,
    pub(super) value: T,
}

impl<T> RetainedMessage<T> {
    pub(super) fn new(value: T) -> Self {
        Self { in_flight: false, refused: false, value }
    }

    /// Records that the broker refused it. Logged once: nothing else shows this.
    pub(super) fn refused(&mut self, what: &str, why: &str) {
        self.in_flight = false;
        if !self.refused {
            tracing::warn!("the broker refused the `{what}` message: {why}; check its access rules");
        }
        self.refused = true;
    }
}
