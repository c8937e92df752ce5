//! From the outbox to the broker and back: one task, one connection, one client id, one will per station.
//!
//! Guarantees: after any fault a new connection starts from the outbox again (capped backoff with jitter, changes of
//! state logged, not tries); a broker that takes messages and acknowledges none is left after
//! [`Timing::acknowledge_limit`]; at shutdown the outbox is drained within a limit and `stopped` is said.
//! A log that does not answer stops neither this task nor `status`. Leaves out: what is sent on a connection (see
//! `session`).
//! Costs: one sync of the disk for each batch of acknowledgements; after a crash their messages are sent again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::link::{Class, Letter, Link, Report};
use super::pace::Pace;
use super::refusal::{Retry, Suspects};
use super::session::{Broken, Session};
use super::wire::{self, AgentState};
use super::{BrokerError, BrokerSettings, Commands, Connection, DeliveryTimes, Fault, Topics};
use crate::pulse::Pulse;
use crate::status::Status;
use crate::store::{Backlog, Origin, RowId, StoreError, StoreHandle};

/// How long a connection that begins or ends waits for the log.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// How often a task that waits turns.
const TURN: Duration = Duration::from_secs(1);

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For name, TCP and CONNACK together; whole seconds.
    pub connect_limit: Duration,
    /// For the PUBACK of any message on a living connection.
    pub acknowledge_limit: Duration,
    /// For the outbox to empty once the agent stops.
    pub drain_limit: Duration,
    /// For the PUBACK of the last `status`.
    pub farewell_limit: Duration,
    /// Between attempts: from the first, doubling, to the longest.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// Before a refused row is tried again: at first, doubling, to the longest.
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
            first_retry: Duration::from_secs(60),
            longest_retry: Duration::from_secs(60 * 60),
        }
    }
}

/// One station's way to the broker. [`Pump::run`] is its task.
pub struct Pump {
    pub broker: BrokerSettings,
    pub topics: Topics,
    pub origin: Origin,
    pub timing: Timing,
    pub store: StoreHandle,
    pub status: watch::Receiver<Arc<Status>>,
    pub connection: watch::Sender<Connection>,
    /// What waits for the broker, as it was read last.
    pub outbox: watch::Sender<Backlog>,
    pub delivery: DeliveryTimes,
    /// Where the line may ask for something.
    pub commands: Option<Commands>,
    /// True once everything is committed and the pump shall drain and leave.
    pub shutdown: watch::Receiver<bool>,
    pub pulse: Pulse,
}

/// What outlives a connection.
pub(super) struct Course {
    pub(super) wait: Duration,
    pub(super) heartbeats: u64,
    /// Acknowledged by the broker, still in the outbox.
    pub(super) acknowledged: Vec<RowId>,
    /// Refused by the broker, and why: to be noted in the outbox.
    pub(super) refused: Vec<(RowId, String)>,
    /// Of the backlog.
    pub(super) pace: Pace,
    pub(super) suspects: Suspects,
    pub(super) retry: Retry,
    /// As it was logged last.
    pub(super) refusal: Option<String>,
}

impl Course {
    fn new(timing: Timing, backlog_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            wait: timing.first_wait,
            heartbeats: 0,
            acknowledged: Vec::new(),
            refused: Vec::new(),
            pace: Pace::new(backlog_per_second, now),
            suspects: Suspects::default(),
            retry: Retry::new(timing.first_retry, timing.longest_retry, now),
            refusal: None,
        }
    }
}

impl Pump {
    /// Runs until `shutdown`, then drains, says `stopped` and leaves. Ends early only when the store does.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut course = Course::new(self.timing, self.broker.backlog_per_second);
        loop {
            self.pulse.idle();
            let ended = self.connect(&mut course).await;
            self.settle(&mut course).await?;
            match ended {
                Ok(()) => return Ok(()),
                Err(Broken::Store(error)) => return Err(error),
                Err(Broken::Broker(fault)) => self.disconnected(fault),
            }
            let jittered = course.wait.mul_f64(rand::random_range(0.5..1.0));
            course.wait = (course.wait * 2).min(self.timing.longest_wait);
            tokio::select! {
                () = turning(&self.pulse, sleep(jittered)) => {}
                () = asked(&mut self.shutdown) => return Ok(()),
            }
        }
    }

    /// Tells the log how the broker answered. What it does not take down in time is told again, and at worst sent twice.
    async fn settle(&self, course: &mut Course) -> Result<(), StoreError> {
        let (rows, refused) = (std::mem::take(&mut course.acknowledged), std::mem::take(&mut course.refused));
        let settled = settle(self.store.clone(), rows.clone(), refused.clone());
        match timeout(STORE_LIMIT, settled).await {
            Ok(left) => course.acknowledged = left?,
            Err(_) => (course.acknowledged, course.refused) = (rows, refused),
        }
        Ok(())
    }

    /// One connection from its first to its last packet; `Ok` when it ended as asked.
    async fn connect(&mut self, course: &mut Course) -> Result<(), Broken> {
        if let Ok(backlog) = timeout(STORE_LIMIT, self.store.backlog(&self.origin.station)).await {
            self.outbox.send_replace(backlog?);
        }
        let will = self.status(AgentState::Offline, None);
        let mut link = Link::open(&self.broker, self.timing.connect_limit, Some(will));
        let limits = loop {
            tokio::select! {
                report = turning(&self.pulse, link.next()) => if let Report::Connected(limits) = report? {
                    break limits;
                },
                () = async { asked(&mut self.shutdown).await; sleep(self.timing.drain_limit).await } => return Ok(()),
            }
        };
        Session::new(self, course, link, limits).run().await
    }

    pub(super) fn status(&self, state: AgentState, since: Option<Timestamp>) -> Letter {
        Letter {
            topic: self.topics.status(),
            payload: wire::status(
                self.origin.boot_id,
                state,
                since,
                Timestamp::now(),
                &self.status.borrow(),
                &self.outbox.borrow(),
            ),
            class: Class::Retained,
        }
    }

    pub(super) fn connected(&self) -> Timestamp {
        let since = Timestamp::now();
        tracing::info!(station = &*self.origin.station, root = self.topics.root(), "connected to the broker");
        self.connection.send_replace(Connection::Connected { since });
        since
    }

    /// Logged and announced when the state or its reason changes, however often it is tried.
    fn disconnected(&self, fault: Fault) {
        let reason = BrokerError::new(&self.broker, fault);
        self.pulse.failed(&reason);
        self.connection.send_if_modified(|connection| {
            let since = match connection {
                Connection::Disconnected { reason: known, .. } if *known == reason => return false,
                Connection::Disconnected { since, .. } => *since,
                Connection::Starting | Connection::Connected { .. } => Timestamp::now(),
            };
            tracing::warn!(station = &*self.origin.station, %reason, "no connection; verdicts wait in the outbox");
            *connection = Connection::Disconnected { since, reason };
            true
        });
    }
}

/// How the broker answered, told to the log: acknowledged rows leave the outbox, refused ones go behind the others.
/// Returns the acknowledged ones that a disk refuses to let go of, to be told again. Of a refusal that is not noted the
/// row is sent again.
pub(super) async fn settle(
    store: StoreHandle,
    acknowledged: Vec<RowId>,
    refused: Vec<(RowId, String)>,
) -> Result<Vec<RowId>, StoreError> {
    for (row, why) in refused {
        match store.refused(row, Timestamp::now(), why).await {
            Err(StoreError::Ended) => return Err(StoreError::Ended),
            Err(error) => tracing::warn!(%error, "refusal not noted"),
            Ok(()) => {}
        }
    }
    if acknowledged.is_empty() {
        return Ok(acknowledged);
    }
    match store.acknowledged(acknowledged.clone()).await {
        Ok(()) => Ok(Vec::new()),
        Err(StoreError::Ended) => Err(StoreError::Ended),
        Err(error) => {
            tracing::warn!(%error, "outbox not cleared, trying again");
            Ok(acknowledged)
        }
    }
}

/// Waits for what may rightly take long, and turns meanwhile.
async fn turning<T>(pulse: &Pulse, what: impl Future<Output = T>) -> T {
    let mut what = pin!(what);
    loop {
        if let Ok(done) = timeout(TURN, &mut what).await {
            return done;
        }
        pulse.idle();
    }
}

/// Returns once shutdown is asked for; whoever dropped the sender is gone and wants it too.
pub(super) async fn asked(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|asked| *asked).await;
}
