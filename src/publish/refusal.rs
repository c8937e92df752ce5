//! Finds out which rows the broker refuses, and decides when they are sent again. No IO; the caller passes the time.
//!
//! A broker that closes the connection because of a message does not say which message it was. [`Suspects`] finds it. A row
//! that was in flight when several connections in succession ended is suspected. From then on verdicts are sent one by one.
//! If the connection ends while a suspected row alone is in flight, this row is the cause.
//! Guarantees: a row that is acknowledged is no longer suspected. A row that is found this way stays in the outbox, so an
//! unstable network can delay a row (see [`Retry`]) but never lose it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RowId;

/// How many connections must end while the same row is in flight before rows are sent one by one. More than one, since
/// networks fail too.
const ENDS: u32 = 3;

/// Rows that may be the reason why connections ended.
#[derive(Default)]
pub(super) struct Suspects {
    /// Rows that were in flight when each of the last `ends` connections ended, and that were not answered since.
    rows: BTreeSet<RowId>,
    ends: u32,
}

impl Suspects {
    /// Whether verdicts are sent one by one.
    pub(super) fn one_by_one(&self) -> bool {
        self.ends >= ENDS
    }

    /// Records that the broker acknowledged or refused this row.
    pub(super) fn answered(&mut self, row: RowId) {
        self.rows.remove(&row);
        if self.rows.is_empty() {
            self.ends = 0;
        }
    }

    /// Forgets all suspects. Call it when every row of the outbox has been sent and answered, or was refused before.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Records that a connection ended with these rows in flight. Returns the row that caused it, if that is known.
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

/// When the refused rows are sent again: one row after a wait, which doubles with each refusal. Once the broker acknowledges
/// one, the next is sent at once.
pub(super) struct Retry {
    first: Duration,
    longest: Duration,
    wait: Duration,
    /// `None` while there is no refused row.
    due: Option<Instant>,
}

impl Retry {
    /// Starts with a wait, since there may be rows that were refused before this start of the agent.
    pub(super) fn new(first: Duration, longest: Duration, now: Instant) -> Self {
        Self { first, longest, wait: first, due: Some(now + first) }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records that a row was refused for the first time. Rows that were refused before do not wait longer because of it.
    pub(super) fn refused(&mut self, now: Instant) {
        self.due = self.due.or(Some(now + self.wait));
    }

    /// Records that a row was sent again and refused again.
    pub(super) fn refused_again(&mut self, now: Instant) {
        self.wait = (self.wait * 2).min(self.longest);
        self.due = Some(now + self.wait);
    }

    /// Records that a row was sent again and acknowledged.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.wait = self.first;
        self.due = Some(now);
    }

    /// Records that no row is refused any more.
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

    /// A broker that closes the connection because of row 3, and acknowledges the rows before it.
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
    fn a_connection_that_ends_with_nothing_in_flight_makes_no_row_suspect() {
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
        retry.acknowledged(now);
        assert_eq!(retry.due(), Some(now), "the cause is gone: the next at once");
        retry.none();
        assert_eq!(retry.due(), None);
        retry.refused(now);
        retry.refused(now + minute / 2);
        assert_eq!(retry.due(), Some(now + minute));
    }
}
