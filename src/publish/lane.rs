//! The parts of the outbox that a session sends, and how far each has been sent.

use crate::store::RowId;

/// The three ways to the broker, in order of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Live,
    Backlog,
    Refused,
}

/// A part of the outbox, and how far it has been sent.
pub(super) struct Stretch {
    pub(super) sent: RowId,
    pub(super) until: RowId,
    pub(super) may_have_more: bool,
}

/// A retained message of which only the newest state counts: one is in flight at a time.
pub(super) struct Shown<T> {
    pub(super) in_flight: bool,
    refused: bool,
    pub(super) value: T,
}

impl<T> Shown<T> {
    pub(super) fn new(value: T) -> Self {
        Self { in_flight: false, refused: false, value }
    }

    /// The broker did not take it: logged once, since nothing else shows it.
    pub(super) fn refused(&mut self, what: &str, why: &str) {
        self.in_flight = false;
        if !self.refused {
            tracing::warn!("the broker does not take `{what}`: {why}");
        }
        self.refused = true;
    }
}
