//! Decides whether evidence or rows are too old, too large or must be deleted for disk space. No IO; the caller passes the time.

use jiff::{SignedDuration, Timestamp};

/// How much may be kept, of evidence or of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub days: u32,
    pub bytes: u64,
    /// With less free space than this on the disk, the oldest are deleted.
    pub min_free_bytes: u64,
}

/// How much may be kept of evidence and of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    pub evidence: Bounds,
    pub rows: Bounds,
}

/// The time and the free disk space at a step of retention.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// Whether the age of things can be trusted. False after the clock has jumped: then nothing is deleted by age.
    pub days_count: bool,
    /// Free space on the disk. `None` if it is not known; then nothing is deleted for disk space.
    pub free_bytes: Option<u64>,
}

/// Whether something must be deleted. `bytes` is how much is kept, `oldest` the time of the oldest item.
pub(super) fn exceeded(bounds: &Bounds, moment: &Moment, bytes: u64, oldest: Option<Timestamp>) -> bool {
    let Some(oldest) = oldest else {
        return false; // there is nothing
    };
    let age = moment.now.duration_since(oldest);
    bytes > bounds.bytes
        || moment.free_bytes.is_some_and(|free| free < bounds.min_free_bytes)
        || (moment.days_count && age > SignedDuration::from_hours(24 * i64::from(bounds.days)))
}
