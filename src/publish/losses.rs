//! Connections that the broker accepts and that end soon after: when to wait longer, and what may be the reason. No IO; the caller
//! passes the time.
//!
//! Two clients with one client id throw each other out for ever, and most brokers do not say so. So an accepted connection alone
//! proves nothing: only one that has lived for a while, and on which the broker has acknowledged something, does.
//! Guarantees: the wait between two tries starts anew only after such a connection. Once several connections in succession
//! ended soon, [`Losses::suspected`] holds until one has lived longer than two clients that take turns could let it live.

use std::time::Duration;

use tokio::time::Instant;

use super::broker::BrokerFault;

/// How many connections in succession must end soon before another client is suspected.
const ENDS: u32 = 3;

/// The connections of a station, as far as they ended soon.
pub(super) struct Losses {
    /// A connection that lived so long proves that the broker works.
    steady: Duration,
    /// The same while another client is suspected: longer than its longest wait, which is likely to be ours.
    steady_if_suspected: Duration,
    /// How many accepted connections in succession ended soon.
    soon: u32,
    /// The present connection: since when, and whether the broker has acknowledged anything on it.
    present: Option<(Instant, bool)>,
}

impl Losses {
    pub(super) fn new(steady: Duration, longest_wait: Duration) -> Self {
        Self { steady, steady_if_suspected: steady + longest_wait * 2, soon: 0, present: None }
    }

    /// Records that the broker has accepted a connection.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.present = Some((now, false));
    }

    /// Records that the broker has answered a message.
    pub(super) fn answered(&mut self) {
        if let Some((_, answered)) = &mut self.present {
            *answered = true;
        }
    }

    /// Whether another client seems to take this station's place again and again.
    pub(super) fn suspected(&self) -> bool {
        self.soon >= ENDS
    }

    /// Whether the present connection ends the suspicion; true once.
    pub(super) fn cleared(&mut self, now: Instant) -> bool {
        let cleared = self.suspected() && self.holds(now);
        if cleared {
            self.soon = 0;
        }
        cleared
    }

    fn holds(&self, now: Instant) -> bool {
        let long_enough = if self.suspected() { self.steady_if_suspected } else { self.steady };
        self.present.is_some_and(|(since, answered)| answered && now.duration_since(since) >= long_enough)
    }

    /// Records that the connection has ended, or that none was accepted. Returns what to report, and whether the wait between two
    /// tries starts anew.
    pub(super) fn ended(&mut self, now: Instant, fault: BrokerFault, client_id: &str) -> (BrokerFault, bool) {
        let held = self.holds(now);
        let was_accepted = self.present.take().is_some();
        if held {
            self.soon = 0;
        } else if was_accepted && matches!(fault, BrokerFault::Closed | BrokerFault::TakenOver { .. }) {
            self.soon = self.soon.saturating_add(1);
        }
        match fault {
            BrokerFault::Closed if self.suspected() => {
                (BrokerFault::TakenOver { client_id: client_id.to_owned(), told: false }, held)
            }
            fault => (fault, held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn losses() -> Losses {
        Losses::new(10 * SECOND, 30 * SECOND)
    }

    fn suspicion(fault: &BrokerFault) -> bool {
        matches!(fault, BrokerFault::TakenOver { client_id, told: false } if client_id == "id")
    }

    #[test]
    fn only_a_connection_that_lived_and_was_used_starts_the_wait_anew() {
        let (mut losses, mut now) = (losses(), Instant::now());
        for (lives, used, anew) in [(1, true, false), (9, true, false), (11, false, false), (11, true, true)]
        {
            losses.accepted(now);
            if used {
                losses.answered();
            }
            now += lives * SECOND;
            assert_eq!(losses.ended(now, BrokerFault::NoAnswer("x"), "id").1, anew, "{lives} s, {used}");
        }
        losses.answered(); // without a connection
        assert!(!losses.ended(now, BrokerFault::Closed, "id").1);
    }

    #[test]
    fn after_three_that_ended_soon_another_client_is_suspected_until_one_holds() {
        let (mut losses, mut now) = (losses(), Instant::now());
        let mut end = |losses: &mut Losses, lives: u32| {
            losses.accepted(now);
            losses.answered();
            now += lives * SECOND;
            losses.ended(now, BrokerFault::Closed, "id")
        };
        assert_eq!(end(&mut losses, 2).0, BrokerFault::Closed);
        assert_eq!(end(&mut losses, 2).0, BrokerFault::Closed);
        assert!(suspicion(&end(&mut losses, 2).0));
        // Two clients that take turns let each other live for up to the longest wait.
        for _ in 0..5 {
            let (fault, anew) = end(&mut losses, 30);
            assert!(suspicion(&fault) && !anew);
        }
        assert_eq!(end(&mut losses, 70), (BrokerFault::Closed, true));
        assert!(!losses.suspected());
    }

    #[test]
    fn a_broker_that_is_away_or_refuses_is_no_other_client() {
        let (mut losses, now) = (losses(), Instant::now());
        for _ in 0..9 {
            assert_eq!(losses.ended(now, BrokerFault::Closed, "id").0, BrokerFault::Closed, "never accepted");
            losses.accepted(now);
            assert_eq!(
                losses.ended(now, BrokerFault::Dismissed("it is shutting down".to_owned()), "id").0,
                BrokerFault::Dismissed("it is shutting down".to_owned())
            );
        }
        assert!(!losses.suspected());
    }

    #[test]
    fn the_suspicion_ends_once_while_the_connection_stands() {
        let (mut losses, now) = (losses(), Instant::now());
        for _ in 0..3 {
            losses.accepted(now);
            losses.ended(now, BrokerFault::Closed, "id");
        }
        losses.accepted(now);
        losses.answered();
        assert!(!losses.cleared(now + 69 * SECOND));
        assert!(losses.cleared(now + 70 * SECOND));
        assert!(!losses.cleared(now + 71 * SECOND));
    }
}
