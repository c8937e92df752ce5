//! The heartbeat: a message each second that shows a reader that the station is alive.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::context::{Progress, PublishContext};
use super::link::{Class, Letter};
use super::wire;

const INTERVAL: Duration = Duration::from_secs(1);

/// The timer of the heartbeats. After a late tick the next one comes a full interval later.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The next heartbeat message. Its count starts when the agent starts and outlives connections.
pub(super) fn next(context: &PublishContext, progress: &mut Progress) -> Letter {
    progress.heartbeats += 1;
    let message = wire::heartbeat(context.origin.boot_id, progress.heartbeats, Timestamp::now());
    Letter { topic: context.topics.heartbeat(), payload: message.into_bytes(), class: Class::Unacknowledged }
}
