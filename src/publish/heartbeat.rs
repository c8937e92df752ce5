//! The heartbeat: a message each second by which a reader sees that the station is alive.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::context::{Progress, PublishContext};
use super::link::{Class, Letter};
use super::wire;

const INTERVAL: Duration = Duration::from_secs(1);

/// Ticks for the heartbeats of a connection. A late one delays the next; none is made up for.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The next heartbeat, counted since the agent started.
pub(super) fn next(context: &PublishContext, progress: &mut Progress) -> Letter {
    progress.heartbeats += 1;
    let message = wire::heartbeat(context.origin.boot_id, progress.heartbeats, Timestamp::now());
    Letter { topic: context.topics.heartbeat(), payload: message.into_bytes(), class: Class::Unacknowledged }
}
