//! Limits how fast the backlog is sent: a number of messages a second, with short bursts after a pause.

use std::time::Duration;

use tokio::time::Instant;

/// How many messages may be sent at once after a pause, as a share of the messages of one second.
const BURST: f64 = 0.1;

/// A token bucket. It reads no clock: the caller passes the time.
pub(super) struct BacklogRate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl BacklogRate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), tokens: 1.0, at: now }
    }

    /// How many messages may be sent now.
    pub(super) fn allowed(&mut self, now: Instant) -> usize {
        let gained = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min((self.per_second * BURST).max(1.0));
        self.at = now;
        self.tokens as usize
    }

    /// Records that `count` messages were sent.
    pub(super) fn spend(&mut self, count: usize) {
        self.tokens -= count as f64;
    }

    /// When the next message may be sent.
    pub(super) fn next(&self) -> Instant {
        let lacking = (1.0 - self.tokens).max(0.0);
        // A little later than computed, so that rounding never gives a time that is too early.
        self.at + Duration::from_secs_f64(lacking / self.per_second) + Duration::from_micros(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that is allowed, every `step`. Returns how many were sent by the end of each second.
    fn sent(rate: &mut BacklogRate, start: Instant, step: Duration, seconds: u64) -> Vec<usize> {
        let mut total = 0;
        let mut now = start;
        (1..=seconds)
            .map(|second| {
                while now < start + Duration::from_secs(second) {
                    let allowed = rate.allowed(now);
                    rate.spend(allowed);
                    total += allowed;
                    now += step;
                }
                total
            })
            .collect()
    }

    #[test]
    fn the_rate_is_kept_however_often_it_is_asked() {
        let start = Instant::now();
        for (per_second, step_ms) in [(50, 1), (50, 7), (50, 90), (1, 3), (10_000, 1)] {
            let mut rate = BacklogRate::new(per_second, start);
            for (second, total) in (1..).zip(sent(&mut rate, start, Duration::from_millis(step_ms), 5)) {
                let expected = f64::from(per_second * second);
                assert!((total as f64 - expected).abs() <= expected * 0.1 + 1.0, "{per_second}: {total}");
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut rate = BacklogRate::new(50, start);
        assert_eq!(rate.allowed(start + Duration::from_secs(60)), 5);
    }

    #[test]
    fn at_the_announced_time_one_message_may_be_sent() {
        let start = Instant::now();
        for per_second in [1, 3, 50, 9_999] {
            let mut rate = BacklogRate::new(per_second, start);
            rate.spend(1);
            assert_eq!(rate.allowed(start), 0);
            let next = rate.next();
            assert_eq!(rate.allowed(next), 1, "{per_second} a second");
        }
    }
}
