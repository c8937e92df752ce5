//! How much may be kept, and what is too old. No IO; the caller passes the time.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// How much may be kept, of evidence or of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub days: u32,
    pub bytes: u64,
    /// With less free space than this on the disk, the oldest are deleted if that helps.
    pub min_free_bytes: u64,
}

/// How much may be kept of evidence and of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    pub evidence: Bounds,
    pub rows: Bounds,
}

impl RetentionLimits {
    /// What is said of a disk of this size before the work begins: limits that it can never keep to.
    pub fn never_kept_on(&self, disk_bytes: u64) -> Vec<String> {
        let mb = |bytes: u64| bytes / 1_000_000;
        [
            ("evidence", &self.evidence, "no evidence will ever be kept"),
            ("store", &self.rows, "the state of the store will always be low_disk"),
        ]
        .into_iter()
        .filter(|(_, bounds, _)| disk_bytes < bounds.min_free_bytes)
        .map(|(section, bounds, effect)| {
            format!(
                "{section}.min_free_mb = {}: the whole disk of the state folder has {} MB, so {effect}; set less than that, or use a \
                 larger disk",
                mb(bounds.min_free_bytes),
                mb(disk_bytes)
            )
        })
        .collect()
    }

    /// What is said of a disk with this much room, while it has less than the limits want.
    pub fn missed_with(&self, free_bytes: u64) -> Option<String> {
        let mb = |bytes: u64| bytes / 1_000_000;
        [("evidence", &self.evidence, "no evidence is kept"), ("store", &self.rows, "the store is low_disk")]
            .into_iter()
            .find(|(_, bounds, _)| free_bytes < bounds.min_free_bytes)
            .map(|(section, bounds, effect)| {
                format!(
                    "{} MB are free on the disk of the state folder, {section}.min_free_mb = {}: {effect} until there is room",
                    mb(free_bytes),
                    mb(bounds.min_free_bytes)
                )
            })
    }
}

/// The time and the disk at a step of retention.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// The same on the clock that does not jump.
    pub at: Instant,
    /// Whether the age of things can be trusted. False after the clock has jumped: then nothing is deleted by age.
    pub days_count: bool,
    /// Free space on the disk. `None` if it is not known; then nothing is deleted for disk space.
    pub free_bytes: Option<u64>,
    /// The size of the disk, if it is known.
    pub disk_bytes: Option<u64>,
}

impl Moment {
    /// What was captured before this time is too old. `None` while the age of things cannot be trusted.
    pub(super) fn oldest_kept(&self, bounds: &Bounds) -> Option<Timestamp> {
        let days = SignedDuration::from_hours(24 * i64::from(bounds.days));
        // Before the first time that can be written, nothing was captured.
        self.days_count.then(|| self.now.checked_sub(days).unwrap_or(Timestamp::MIN))
    }
}
