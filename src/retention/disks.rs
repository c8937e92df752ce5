//! The two limits of free space, that of evidence and that of the log, and the disks that they are for.
//!
//! Guarantees: no IO; the caller has asked what is free. A disk whose free space is unknown misses no limit.
//! Leaves out: what is done about a limit that is missed (`room`).

use super::policy::{DiskRoom, DiskRooms, RetentionLimits};

/// A little more than a limit: where deletion stops.
pub(super) fn with_margin(limit: u64) -> u64 {
    limit + limit / 100
}

/// One of the two limits of free space, with the disk that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Evidence,
    Rows,
}

/// The limits of free space, and the disks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disks {
    limits: RetentionLimits,
    rows: DiskRoom,
    evidence: DiskRoom,
    pub(super) one_disk: bool,
}

impl Disks {
    pub(super) fn new(limits: RetentionLimits, disks: &DiskRooms) -> Self {
        let (rows, evidence) = (disks.state, disks.of_evidence());
        Self { limits, rows, evidence, one_disk: disks.evidence.is_none() }
    }

    fn disk(&self, limit: Limit) -> DiskRoom {
        if limit == Limit::Evidence { self.evidence } else { self.rows }
    }

    /// What this limit wants to be free.
    pub(super) fn bytes(&self, limit: Limit) -> u64 {
        if limit == Limit::Evidence {
            self.limits.evidence.min_free_bytes
        } else {
            self.limits.rows.min_free_bytes
        }
    }

    pub(super) fn free(&self, limit: Limit) -> Option<u64> {
        self.disk(limit).free_bytes
    }

    /// The limits that are missed, and what is free on their disks.
    pub(super) fn missed(&self) -> impl Iterator<Item = (Limit, u64)> {
        [Limit::Evidence, Limit::Rows]
            .into_iter()
            .filter_map(|limit| Some((limit, self.free(limit).filter(|free| *free < self.bytes(limit))?)))
    }

    /// Whether a limit is missed that its disk, as a whole, has room for.
    pub(super) fn misses_a_limit_it_could_keep(&self) -> bool {
        self.missed().any(|(limit, _)| self.too_small(limit).is_none())
    }

    pub(super) fn misses_a_limit(&self) -> bool {
        self.missed().next().is_some()
    }

    /// What is free on the disk of this limit, if the limit is missed.
    pub(super) fn missed_free(&self, limit: Limit) -> Option<u64> {
        self.missed().find(|(missed, _)| *missed == limit).map(|(_, free)| free)
    }

    /// The size of this limit's disk, if that is smaller than the limit.
    pub(super) fn too_small(&self, limit: Limit) -> Option<u64> {
        self.disk(limit).disk_bytes.filter(|disk| *disk < self.bytes(limit))
    }

    /// How much must become free so that the log's limit is kept to; `None` if it is.
    pub(super) fn missing_for_rows(&self) -> Option<u64> {
        Some(self.bytes(Limit::Rows) - self.missed_free(Limit::Rows)?)
    }

    /// How much evidence to look for.
    pub(super) fn most_missing(&self) -> u64 {
        self.missed().map(|(limit, free)| with_margin(self.bytes(limit)) - free).max().unwrap_or(0)
    }
}
