//! What the publishing of a station works with: its inputs, its time limits, and the state that outlives a connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::backlog_rate::BacklogRate;
use super::broker::{BrokerError, BrokerFault, BrokerSettings};
use super::commands::Commands;
use super::connection::Connection;
use super::delivery::DeliveryTimes;
use super::losses::Losses;
use super::refusal::{Retry, Suspects};
use super::topics::Topics;
use crate::pulse::Pulse;
use crate::status::Status;
use crate::store::{Backlog, Origin, RowId, StoreHandle};

/// How often a task that waits updates its pulse.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);

/// The time limits of publishing.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For resolving the name and TCP, and once more for CONNACK; whole seconds.
    pub connect_limit: Duration,
    /// For the PUBACK of any message.
    pub acknowledge_limit: Duration,
    /// For sending the outbox once the agent stops.
    pub drain_limit: Duration,
    /// For the PUBACK of the last `status`.
    pub farewell_limit: Duration,
    /// Between two tries to connect: `first_wait` at first, then twice as long each time, up to `longest_wait`.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// The first wait counts again after a connection that has lived so long.
    pub steady_after: Duration,
    /// For so long `cmd/trigger` is not subscribed to, after a message there has ended the connection.
    pub subscribe_pause: Duration,
    /// Before a refused row is sent again: `first_retry` at first, then twice as long each time, up to `longest_retry`.
    pub first_retry: Duration,
    pub longest_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_limit: Duration::from_secs(5),
            acknowledge_limit: Duration::from_secs(30),
            drain_limit: Duration::from_secs(5),
            farewell_limit: Duration::from_secs(2),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            steady_after: Duration::from_secs(10),
            subscribe_pause: Duration::from_secs(5 * 60),
            first_retry: Duration::from_secs(60),
            longest_retry: Duration::from_secs(60 * 60),
        }
    }
}

/// Everything that one station's [`super::Pump`] works with.
pub struct PublishContext {
    pub broker: BrokerSettings,
    pub topics: Topics,
    pub origin: Origin,
    pub timing: Timing,
    pub store: StoreHandle,
    pub status: watch::Receiver<Arc<Status>>,
    pub connection: watch::Sender<Connection>,
    /// How much of the outbox the broker has not acknowledged, when it was last read.
    pub outbox: watch::Sender<Backlog>,
    pub delivery: DeliveryTimes,
    /// `None` if the line gives this station no commands.
    pub commands: Option<Commands>,
    /// Becomes true once everything is committed: the pump then sends the rest of the outbox and disconnects.
    pub shutdown: watch::Receiver<bool>,
    pub pulse: Pulse,
}

impl PublishContext {
    /// Announces that the broker has accepted the connection, and logs it if wanted; returns the time.
    pub(super) fn connected(&self, log: bool) -> Timestamp {
        let since = Timestamp::now();
        if log {
            let (station, root, client_id) =
                (&*self.origin.station, self.topics.root(), &self.broker.client_id);
            tracing::info!(station, root, client_id, "connected to the broker");
        }
        self.connection.send_replace(Connection::Connected { since });
        since
    }

    /// Announces that there is no connection. Logs it when the state or its reason changes, not for each try; while another client
    /// is suspected, which ends each new connection, the reason is logged once.
    pub(super) fn disconnected(&self, fault: BrokerFault, progress: &mut Progress) {
        let reason = BrokerError::new(&self.broker, fault);
        self.pulse.failed(&reason);
        let changed = self.connection.send_if_modified(|connection| {
            let since = match connection {
                Connection::Disconnected { reason: known, .. } if *known == reason => return false,
                Connection::Disconnected { since, .. } => *since,
                Connection::Starting | Connection::Connected { .. } => Timestamp::now(),
            };
            *connection = Connection::Disconnected { since, reason: reason.clone() };
            true
        });
        let known = progress.losses.suspected() && progress.logged.as_ref() == Some(&reason);
        if changed && !known {
            progress.logged = Some(reason.clone());
            tracing::warn!(station = &*self.origin.station, %reason, "no connection; verdicts wait in the outbox");
        }
    }
}

/// The state of publishing that outlives a connection.
pub(super) struct Progress {
    /// How long to wait before the next try to connect.
    pub(super) wait: Duration,
    pub(super) losses: Losses,
    /// Why there was no connection, as it was logged last.
    pub(super) logged: Option<BrokerError>,
    /// Until then `cmd/trigger` is not subscribed to.
    pub(super) subscribe_after: Option<Instant>,
    /// How many heartbeats were sent.
    pub(super) heartbeats: u64,
    /// Rows that the broker has acknowledged and that are still in the outbox.
    pub(super) acknowledged: Vec<RowId>,
    /// Rows that the broker has refused, and why; not yet recorded in the outbox.
    pub(super) refused: Vec<(RowId, String)>,
    pub(super) backlog_rate: BacklogRate,
    pub(super) suspects: Suspects,
    pub(super) retry: Retry,
    /// The refusal that was logged last.
    pub(super) refusal: Option<String>,
}

impl Progress {
    pub(super) fn new(timing: Timing, backlog_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            wait: timing.first_wait,
            losses: Losses::new(timing.steady_after, timing.longest_wait),
            logged: None,
            subscribe_after: None,
            heartbeats: 0,
            acknowledged: Vec::new(),
            refused: Vec::new(),
            backlog_rate: BacklogRate::new(backlog_per_second, now),
            suspects: Suspects::default(),
            retry: Retry::new(timing.first_retry, timing.longest_retry, now),
            refusal: None,
        }
    }
}

/// Awaits a slow future and keeps the stage's pulse alive.
pub(super) async fn with_pulse<T>(pulse: &Pulse, slow: impl Future<Output = T>) -> T {
    let mut slow = pin!(slow);
    loop {
        if let Ok(done) = timeout(PULSE_INTERVAL, &mut slow).await {
            return done;
        }
        pulse.idle();
    }
}

/// Returns once shutdown is requested; a dropped sender counts as a request.
pub(super) async fn shutdown_requested(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|requested| *requested).await;
}
