//! Decides what may be deleted for a disk that is low on space. No IO; the caller passes times and sizes.
//!
//! Guarantees: nothing is deleted that does not help. Nothing is begun if all that may be deleted is less than what is missing.
//! After each few deletions the disk must have gained about as much, or no more is deleted. Rows are deleted only if a tenth of
//! the log is enough. What other programs write is made up for only up to a tenth of evidence and log in a day, but for the
//! first time in that day.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::disks::{Disks, Limit, with_margin};
use super::plan::{Plan, Survey};
use crate::store::{KeptEvidence, StoredAmount};

/// How long it may take until the disk has gained what was deleted.
const EFFECT_LIMIT: Duration = Duration::from_secs(10);
/// After this time it is looked again whether something can be deleted.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// After this time deletion that did not help is tried again; twice as long each time, up to `LONGEST_WAIT`.
const FIRST_WAIT: Duration = Duration::from_secs(60 * 60);
const LONGEST_WAIT: Duration = DAY;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The part of the evidence, or of the log, that may be deleted in a day for what other programs write.
const PART_A_DAY: u64 = 10;
/// What is done before it is known what may be deleted.
pub(crate) const LOOKS: &str = "certiscope looks for something to delete";

/// Whether the disk is low on space, and what is done about it.
#[derive(Debug, Default)]
pub(super) enum Room {
    #[default]
    Enough,
    /// Free pages of the database are given back; `last` bytes were left at the last look.
    GiveBack {
        last: u64,
    },
    Survey(Survey),
    Work(Work),
    /// Nothing is deleted before this time.
    Held {
        until: Instant,
        why: Held,
    },
}

/// Why nothing is deleted although the disk is low on space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The disk as a whole is too small for `min_free_mb`.
    DiskTooSmall,
    /// All that may be deleted is less than what is missing.
    OutOfReach { evidence_bytes: u64, rows_bytes: u64 },
    /// Something was deleted, and the disk did not gain by it.
    NoEffect { bytes: u64 },
    /// Enough was deleted for one day.
    DayIsOver { bytes: u64 },
}

/// What is being deleted, until the goal is reached.
#[derive(Debug)]
pub(super) struct Work {
    /// The limit that is missed.
    pub limit: Limit,
    /// So much must be free; a little more than the limit, so that the next part does not begin it anew.
    pub goal: u64,
    /// So much may still be deleted.
    pub left: u64,
    pub evidence: VecDeque<KeptEvidence>,
    /// How much of the log may still be deleted, when there is no evidence left.
    pub rows_left: u64,
    pub deleted: u64,
    batch: Option<Batch>,
}

/// What was deleted last, and what the disk had free before it.
#[derive(Debug)]
struct Batch {
    bytes: u64,
    free_before: u64,
    since: Instant,
}

/// What is to be done next for a [`Work`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Delete,
    /// The disk has not yet gained what was deleted last.
    Wait,
    Done,
    NoEffect,
}

impl Work {
    pub(super) fn next(&mut self, free: u64, at: Instant) -> Next {
        if let Some(batch) = &self.batch {
            let gained = free.saturating_sub(batch.free_before);
            if 2 * gained >= batch.bytes {
                self.batch = None;
            } else if at.duration_since(batch.since) < EFFECT_LIMIT {
                return Next::Wait;
            } else {
                return Next::NoEffect;
            }
        }
        if free >= self.goal {
            return Next::Done;
        }
        // As much was deleted as was missing at first. So another program has taken the room.
        if self.left == 0 { Next::NoEffect } else { Next::Delete }
    }

    /// This much was deleted just now.
    pub(super) fn deleted(&mut self, bytes: u64, free_before: u64, at: Instant) {
        self.left = self.left.saturating_sub(bytes);
        self.deleted += bytes;
        if bytes > 0 {
            self.batch = Some(Batch { bytes, free_before, since: at });
        }
    }
}

/// Decides what is deleted, if anything. `rows_left_today` is how much of the log the day still allows.
pub(super) fn decide(
    disks: &Disks,
    plan: Plan,
    stored: &StoredAmount,
    rows_left_today: u64,
    at: Instant,
) -> Room {
    let rows = if stored.rows_give_room { rows_left_today.min(stored.rows_bytes / PART_A_DAY) } else { 0 };
    // Of two limits, the one that a person can keep to by making room is named.
    let (mut too_small, mut out_of_reach) = (None, None);
    let Plan { evidence, found } = plan;
    for (limit, free) in disks.missed() {
        // Evidence makes no room for the log where it is on another disk.
        let (found, rows) = match limit {
            Limit::Evidence => (found, 0),
            Limit::Rows if disks.one_disk => (found, rows),
            Limit::Rows => (0, rows),
        };
        let wanted = disks.bytes(limit);
        if disks.too_small(limit).is_some() {
            too_small = Some(Room::Held { until: at + LOOK_AGAIN, why: Held::DiskTooSmall });
        } else if found + rows >= wanted - free {
            let goal = with_margin(wanted);
            let evidence = if found > 0 { evidence } else { VecDeque::new() };
            return Room::Work(Work {
                limit,
                goal,
                left: goal - free,
                evidence,
                rows_left: rows,
                deleted: 0,
                batch: None,
            });
        } else {
            out_of_reach = Some(Room::out_of_reach(at, stored));
        }
    }
    out_of_reach.or(too_small).unwrap_or_default()
}

/// How long deletion is not tried again that has not helped `times` times in a row.
pub(super) fn wait_after_no_effect(times: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(LONGEST_WAIT)
}

/// What was stored at the beginning of a day, and what was deleted for disk space since. The day is any 24 hours.
#[derive(Debug)]
pub(super) struct Day {
    begun: Instant,
    evidence_at_first: u64,
    rows_at_first: u64,
    /// All evidence that was deleted before the day began, by any reason.
    deleted_before: u64,
    evidence: u64,
    rows: u64,
}

impl Day {
    pub(super) fn new(at: Instant, stored: &StoredAmount, deleted_before: u64) -> Self {
        let (evidence_at_first, rows_at_first) = (stored.evidence_bytes, stored.rows_bytes);
        Self { begun: at, evidence_at_first, rows_at_first, deleted_before, evidence: 0, rows: 0 }
    }

    pub(super) fn is_over(&self, at: Instant) -> bool {
        at.duration_since(self.begun) >= DAY
    }

    pub(super) fn count(&mut self, evidence_bytes: u64, rows_bytes: u64) {
        self.evidence += evidence_bytes;
        self.rows += rows_bytes;
    }

    /// `None` while more may be deleted today, else since when not and how much was. `deleted` is all evidence that was deleted
    /// since the start, by any reason.
    pub(super) fn held(&self, stored: &StoredAmount, deleted: u64) -> Option<Room> {
        let written =
            (stored.evidence_bytes + (deleted - self.deleted_before)).saturating_sub(self.evidence_at_first);
        let allowed = self.evidence_at_first / PART_A_DAY + written;
        (self.evidence > allowed)
            .then(|| Room::Held { until: self.begun + DAY, why: Held::DayIsOver { bytes: self.evidence } })
    }

    /// How much of the log may still be deleted today.
    pub(super) fn rows_left(&self, stored: &StoredAmount) -> u64 {
        let written = (stored.rows_bytes + self.rows).saturating_sub(self.rows_at_first);
        (self.rows_at_first / PART_A_DAY + written).saturating_sub(self.rows)
    }
}

impl Room {
    /// All that may be deleted is too little.
    pub(super) fn out_of_reach(at: Instant, stored: &StoredAmount) -> Self {
        let StoredAmount { evidence_bytes, rows_bytes, .. } = *stored;
        Self::Held { until: at + LOOK_AGAIN, why: Held::OutOfReach { evidence_bytes, rows_bytes } }
    }

    /// What is done about a disk that misses a limit, or why nothing. `None` if none is missed. `too_small` is the size of the
    /// limit's disk if that is smaller than the limit.
    pub(super) fn in_words(&self, too_small: Option<u64>) -> Option<String> {
        let mb = |bytes: u64| bytes / 1_000_000;
        Some(match (self, too_small) {
            (Self::Enough, _) => return None,
            (_, Some(disk_bytes)) => format!(
                "the whole disk has {} MB, so this can never be reached, and nothing is deleted for it: lower min_free_mb, or \
                 use a larger disk",
                mb(disk_bytes)
            ),
            (Self::GiveBack { .. } | Self::Survey(_), None) => LOOKS.to_owned(),
            (Self::Work(_), None) => {
                "evidence is deleted to make room, that of normal parts first".to_owned()
            }
            (Self::Held { why, .. }, None) => match *why {
                // It is held for the other limit, and this one is looked at next.
                Held::DiskTooSmall => LOOKS.to_owned(),
                Held::OutOfReach { evidence_bytes, rows_bytes } => format!(
                    "other files fill the disk: certiscope's own are {} MB of evidence and {} MB of log, and what may be \
                     deleted of them is too little to help, so nothing is deleted: make room on the disk",
                    mb(evidence_bytes),
                    mb(rows_bytes)
                ),
                Held::NoEffect { bytes } => format!(
                    "{} MB were deleted and the disk has hardly more room than before, so no more is deleted for now: another \
                     program takes the room, or the disk does not give it back; make room on the disk",
                    mb(bytes)
                ),
                Held::DayIsOver { bytes } => format!(
                    "other programs take the room: {} MB of evidence were deleted for them in a day, and no more is: make room \
                     on the disk",
                    mb(bytes)
                ),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::policy::{Bounds, DiskRoom, DiskRooms, RetentionLimits};

    const MB: u64 = 1_000_000;

    fn limits() -> RetentionLimits {
        let bounds = |min_free_bytes| Bounds { days: 1, bytes: u64::MAX, min_free_bytes };
        RetentionLimits { evidence: bounds(1000 * MB), rows: bounds(200 * MB) }
    }

    fn stored(evidence_bytes: u64, rows_bytes: u64) -> StoredAmount {
        StoredAmount { evidence_bytes, rows_bytes, rows_give_room: true, ..StoredAmount::default() }
    }

    /// What is decided with this much free, evidence and log.
    fn decided(free: u64, evidence: u64, rows: u64, disk: Option<u64>) -> Room {
        let state = DiskRoom { free_bytes: Some(free), disk_bytes: disk };
        decided_on(DiskRooms { state, evidence: None }, evidence, rows)
    }

    fn decided_on(disks: DiskRooms, evidence: u64, rows: u64) -> Room {
        let plan = Plan { evidence: VecDeque::new(), found: evidence };
        decide(&Disks::new(limits(), &disks), plan, &stored(evidence, rows), u64::MAX, Instant::now())
    }

    #[test]
    fn evidence_on_another_disk_is_deleted_for_that_disk_only() {
        let free = |mb: u64| DiskRoom { free_bytes: Some(mb * MB), disk_bytes: None };
        let two = |state, evidence| DiskRooms { state: free(state), evidence: Some(free(evidence)) };
        let room = decided_on(two(146, 5000), 3000 * MB, 0);
        assert!(matches!(room, Room::Held { why: Held::OutOfReach { .. }, .. }), "{room:?}");
        let Room::Work(work) = decided_on(two(5000, 146), 3000 * MB, 0) else { panic!() };
        assert_eq!((work.limit, work.goal), (Limit::Evidence, 1010 * MB));
        let Room::Work(work) = decided_on(two(146, 5000), 3000 * MB, 600 * MB) else { panic!() };
        assert_eq!((work.limit, work.goal), (Limit::Rows, 202 * MB));
    }

    #[test]
    fn nothing_is_begun_that_cannot_reach_its_goal() {
        // The case of the field: 146 MB free, a log of 80 kB and no evidence.
        for (evidence, rows) in [(0, 80_000), (53 * MB, 0), (0, 539 * MB), (20 * MB, 300 * MB)] {
            let room = decided(146 * MB, evidence, rows, None);
            assert!(
                matches!(room, Room::Held { why: Held::OutOfReach { .. }, .. }),
                "{evidence} {rows}: {room:?}"
            );
        }
        let Room::Work(work) = decided(146 * MB, 54 * MB, 0, None) else { panic!() };
        assert_eq!(
            (work.goal, work.left),
            (202 * MB, 56 * MB),
            "the larger limit cannot be reached, the smaller can"
        );
        let Room::Work(work) = decided(146 * MB, 854 * MB, 0, None) else { panic!() };
        assert_eq!((work.goal, work.rows_left), (1010 * MB, 0), "the larger limit can be reached");
        let Room::Work(work) = decided(146 * MB, 0, 540 * MB, None) else { panic!() };
        assert_eq!(work.rows_left, 54 * MB, "a tenth of the log is enough");
    }

    #[test]
    fn a_disk_that_is_too_small_for_its_limit_is_named() {
        let room = decided(150 * MB, 200 * MB, 0, Some(190 * MB));
        assert!(room.in_words(Some(190 * MB)).unwrap().contains("the whole disk has 190 MB"), "{room:?}");
        let room = decided(146 * MB, 20 * MB, 0, Some(629 * MB));
        assert!(room.in_words(None).unwrap().contains("other files fill the disk"), "{room:?}");
        // The limit of evidence can never be reached. That of the log can.
        let Room::Work(work) = decided(150 * MB, 60 * MB, 0, Some(256 * MB)) else { panic!() };
        assert_eq!(work.goal, 202 * MB);
    }

    #[test]
    fn deletion_goes_on_only_while_the_disk_gains_by_it() {
        let at = Instant::now();
        let Room::Work(mut work) = decided(146 * MB, 54 * MB, 0, None) else { panic!() };
        assert_eq!(work.next(146 * MB, at), Next::Delete);
        work.deleted(8 * MB, 146 * MB, at);
        assert_eq!(work.next(149 * MB, at), Next::Wait, "some disks give room back late");
        assert_eq!(work.next(151 * MB, at + EFFECT_LIMIT), Next::Delete);
        work.deleted(8 * MB, 151 * MB, at);
        assert_eq!(work.next(151 * MB, at + EFFECT_LIMIT), Next::NoEffect);
        assert_eq!(work.deleted, 16 * MB);
        // As much was deleted as was missing, each time with effect, and it is gone again.
        let Room::Work(mut work) = decided(146 * MB, 54 * MB, 0, None) else { panic!() };
        work.deleted(56 * MB, 146 * MB, at);
        assert_eq!(work.next(190 * MB, at), Next::NoEffect);
        let Room::Work(mut work) = decided(146 * MB, 54 * MB, 0, None) else { panic!() };
        work.deleted(56 * MB, 146 * MB, at);
        assert_eq!(work.next(202 * MB, at), Next::Done);
        assert_eq!(
            [1, 2, 9, 99].map(|times| wait_after_no_effect(times).as_secs() / 3600),
            [1, 2, 24, 24],
            "hours"
        );
    }

    #[test]
    fn in_a_day_other_programs_take_a_tenth_of_the_evidence_at_most() {
        let at = Instant::now();
        let mut day = Day::new(at, &stored(1000 * MB, 500 * MB), 7);
        assert!(day.held(&stored(1000 * MB, 0), 7).is_none());
        day.count(100 * MB, 20 * MB);
        assert!(day.held(&stored(900 * MB, 0), 7 + 100 * MB).is_none());
        day.count(MB, 0);
        let held = day.held(&stored(899 * MB, 0), 7 + 101 * MB).unwrap();
        assert!(held.in_words(None).unwrap().contains("101 MB of evidence"), "{held:?}");
        // What certiscope has written itself may be deleted again.
        assert!(day.held(&stored(900 * MB, 0), 7 + 101 * MB).is_none());
        assert_eq!(day.rows_left(&stored(0, 480 * MB)), 30 * MB);
        assert_eq!(day.rows_left(&stored(0, 490 * MB)), 40 * MB);
        assert!(!day.is_over(at) && day.is_over(at + DAY));
    }
}
