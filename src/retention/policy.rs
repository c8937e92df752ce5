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
    /// What is said of these disks before the work begins: limits that they can never keep to.
    pub fn never_kept_on(&self, disks: &DiskRooms) -> Vec<String> {
        let limits = [
            ("evidence", &self.evidence, disks.of_evidence(), "no evidence will ever be kept"),
            ("store", &self.rows, disks.state, "the state of the store will always be low_disk"),
        ];
        let said = |(section, bounds, disk, effect): (&str, &Bounds, DiskRoom, &str)| {
            let bytes = disk.disk_bytes.filter(|bytes| *bytes < bounds.min_free_bytes)?;
            Some(format!(
                "{section}.min_free_mb = {}: the whole disk has {} MB, so {effect}; set less than that, or use a larger disk",
                mb(bounds.min_free_bytes),
                mb(bytes)
            ))
        };
        limits.into_iter().filter_map(said).collect()
    }

    /// What is said of these disks while they have less room than the limits want.
    pub fn missed_on(&self, disks: &DiskRooms) -> Option<String> {
        let limits = [
            ("evidence", &self.evidence, disks.of_evidence(), "no evidence is kept"),
            ("store", &self.rows, disks.state, "the store is low_disk"),
        ];
        limits.into_iter().find_map(|(section, bounds, disk, effect)| {
            let free = disk.free_bytes.filter(|free| *free < bounds.min_free_bytes)?;
            Some(format!(
                "{} MB are free, {section}.min_free_mb = {}: {effect} until there is room",
                mb(free),
                mb(bounds.min_free_bytes)
            ))
        })
    }
}

fn mb(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// The time and the disks at a step of retention.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// The same on the clock that does not jump.
    pub at: Instant,
    /// Whether the age of things can be trusted. False after the clock has jumped: then nothing is deleted by age.
    pub days_count: bool,
    pub disks: DiskRooms,
}

/// How much room the disks have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskRooms {
    /// The disk of the state folder.
    pub state: DiskRoom,
    /// The disk of the evidence, if that is another one.
    pub evidence: Option<DiskRoom>,
}

impl DiskRooms {
    pub fn of_evidence(&self) -> DiskRoom {
        self.evidence.unwrap_or(self.state)
    }
}

/// How much room a disk has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskRoom {
    /// `None` if it is not known; then nothing is deleted for disk space.
    pub free_bytes: Option<u64>,
    /// The size of the whole disk, if it is known.
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
