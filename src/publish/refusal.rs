//! Which rows the broker does not take, and when it is asked again. No IO, no clock.
//!
//! A broker that closes the connection over a message does not say over which one. [`Suspects`] finds it: a row
//! that was in flight at the end of several connections in a row is suspected; from then on verdicts go one by
//! one, and a suspect that is alone in flight when the connection ends again is the one.
//! Guarantees: a row that is acknowledged is never suspected longer; a network that merely flaps can at worst
//! make a row wait (see [`Retry`]), since a row so found stays in the outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RowId;

/// Connections that must end over the same row before it is sent alone. More than one, since networks fail too.
const ENDS: u32 = 3;

/// Rows over which connections may have ended.
#[derive(Default)]
pub(super) struct Suspects {
    /// In flight at the end of each of the last `ends` connections, and not answered for since.
    rows: BTreeSet<RowId>,
    ends: u32,
}

impl Suspects {
    /// Whether verdicts go one by one.
    pub(super) fn one_by_one(&self) -> bool {
        self.ends >= ENDS
    }

    /// The broker answered for this row, one way or the other.
    pub(super) fn answered(&mut self, row: RowId) {
        self.rows.remove(&row);
        if self.rows.is_empty() {
            self.ends = 0;
        }
    }

    /// Every row of the outbox has been sent and answered, or was refused before: no row is suspected any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A connection ended with these rows in flight; returns the one that it ended over, where that is known.
    pub(super) fn ended(&mut self, in_flight: &BTreeSet<RowId>) -> Option<RowId> {
        if in_flight.is_empty() {
            return None;
        }
        let again: BTreeSet<RowId> = self.rows.intersection(in_flight).copied().collect();
        if self.one_by_one() {
            // The others were not sent this time: they stay suspected.
            let alone = again.first().copied().filter(|_| in_flight.len() == 1)?;
            self.answered(alone);
            return Some(alone);
        }
        if again.is_empty() {
            self.rows.clone_from(in_flight);
            self.ends = 1;
        } else {
            self.rows = again;
            self.ends += 1;
        }
        None
    }
}

/// When the refused rows are tried again: one after a wait that doubles with each refusal; once one is taken, the
/// next follows at once.
pub(super) struct Retry {
    first: Duration,
    longest: Duration,
    wait: Duration,
    /// None while there is no refused row.
    due: Option<Instant>,
}

impl Retry {
    /// Rows may have been refused in an earlier start.
    pub(super) fn new(first: Duration, longest: Duration, now: Instant) -> Self {
        Self { first, longest, wait: first, due: Some(now + first) }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A row was refused that was not before; those that were do not wait longer for it.
    pub(super) fn refused(&mut self, now: Instant) {
        self.due = self.due.or(Some(now + self.wait));
    }

    /// A row was tried again and refused again.
    pub(super) fn refused_again(&mut self, now: Instant) {
        self.wait = (self.wait * 2).min(self.longest);
        self.due = Some(now + self.wait);
    }

    /// A row was tried again and taken.
    pub(super) fn taken(&mut self, now: Instant) {
        self.wait = self.first;
        self.due = Some(now);
    }

    /// No row is refused.
    pub(super) fn none(&mut self) {
        self.wait = self.first;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[i64]) -> BTreeSet<RowId> {
        ids.iter().copied().map(RowId::numbered).collect()
    }

    /// A broker that closes over row 3, and answers for what comes before it.
    #[test]
    fn the_row_that_ends_every_connection_is_found() {
        let mut suspects = Suspects::default();
        for in_flight in [&[1, 2, 3, 4, 5][..], &[3, 4, 5, 6], &[3, 4, 9]] {
            assert!(!suspects.one_by_one());
            assert_eq!(suspects.ended(&rows(in_flight)), None);
        }
        assert!(suspects.one_by_one());
        assert_eq!(suspects.ended(&rows(&[3])), Some(RowId::numbered(3)));
        assert!(suspects.one_by_one(), "4 was in flight each time too");
        suspects.answered(RowId::numbered(4));
        assert!(!suspects.one_by_one());
    }

    #[test]
    fn a_network_that_flaps_finds_nothing_as_long_as_rows_get_through() {
        let mut suspects = Suspects::default();
        for first in 0..100 {
            assert_eq!(suspects.ended(&rows(&[2 * first, 2 * first + 1])), None);
            assert!(!suspects.one_by_one());
        }
    }

    #[test]
    fn a_connection_that_ends_over_nothing_proves_nothing() {
        let mut suspects = Suspects::default();
        for _ in 0..10 {
            assert_eq!(suspects.ended(&rows(&[])), None);
        }
        assert!(!suspects.one_by_one());
        for _ in 0..3 {
            suspects.ended(&rows(&[1, 2]));
        }
        assert_eq!(suspects.ended(&rows(&[])), None);
        assert_eq!(suspects.ended(&rows(&[7])), None, "not one of those");
        assert!(suspects.one_by_one());
    }

    #[test]
    fn a_refused_row_waits_longer_each_time_and_never_for_ever() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let mut now = Instant::now();
        let mut retry = Retry::new(minute, hour, now);
        retry.none();
        retry.refused(now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let due = retry.due().expect("a row is refused");
            waits.push((due - now).as_secs() / 60);
            now = due;
            retry.refused_again(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        retry.taken(now);
        assert_eq!(retry.due(), Some(now), "the cause is gone: the next at once");
        retry.none();
        assert_eq!(retry.due(), None);
        retry.refused(now);
        retry.refused(now + minute / 2);
        assert_eq!(retry.due(), Some(now + minute));
    }
}
