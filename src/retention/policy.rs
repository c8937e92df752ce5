//! When something is too much or too old to be kept. No IO, no clock.

use jiff::{SignedDuration, Timestamp};

/// How much may be kept of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub days: u32,
    pub bytes: u64,
    /// With less room than this on the disk, the oldest are deleted.
    pub min_free_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    pub evidence: Bounds,
    pub rows: Bounds,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// False after the clock has jumped: nothing is old then.
    pub days_count: bool,
    /// Room on the disk; `None`, when it is not known, is enough.
    pub free_bytes: Option<u64>,
}

/// Whether there is something to delete of `bytes` bytes, of which the `oldest` is of that time.
pub(super) fn exceeded(bounds: &Bounds, moment: &Moment, bytes: u64, oldest: Option<Timestamp>) -> bool {
    let Some(oldest) = oldest else {
        return false; // there is nothing
    };
    let age = moment.now.duration_since(oldest);
    bytes > bounds.bytes
        || moment.free_bytes.is_some_and(|free| free < bounds.min_free_bytes)
        || (moment.days_count && age > SignedDuration::from_hours(24 * i64::from(bounds.days)))
}
