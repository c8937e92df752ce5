//! From the outbox to the broker and back: one task, one connection, one client id, one will per station.
//!
//! Guarantees: after any fault a new connection starts from the outbox again (capped backoff with jitter, changes of
//! state logged, not tries); a broker that takes messages and acknowledges none is left after
//! [`Timing::acknowledge_limit`]; at shutdown the outbox is drained within a limit and `stopped` is said.
//! Leaves out: what is sent on a connection (see `session`).
//! Costs: one sync of the disk for each batch of acknowledgements; after a crash their messages are sent again.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::link::{Class, Letter, Link, Report};
use super::pace::Pace;
use super::refusal::{Retry, Suspects};
use super::session::{Broken, Session};
use super::wire::{self, AgentState, Snapshot};
use super::{BrokerError, BrokerSettings, Commands, Connection, Fault, Topics};
use crate::health::Pulse;
use crate::store::{Backlog, Origin, RowId, StoreError, StoreHandle};

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
    pub snapshot: watch::Receiver<Snapshot>,
    pub connection: watch::Sender<Connection>,
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
            self.clear_outbox(&mut course.acknowledged).await?;
            match ended {
                Ok(()) => return Ok(()),
                Err(Broken::Store(error)) => return Err(error),
                Err(Broken::Broker(fault)) => self.disconnected(fault),
            }
            let jittered = course.wait.mul_f64(rand::random_range(0.5..1.0));
            course.wait = (course.wait * 2).min(self.timing.longest_wait);
            tokio::select! {
                () = sleep(jittered) => {}
                () = asked(&mut self.shutdown) => return Ok(()),
            }
        }
    }

    /// One connection from its first to its last packet; `Ok` when it ended as asked.
    async fn connect(&mut self, course: &mut Course) -> Result<(), Broken> {
        let backlog = self.store.backlog(&self.origin.station).await?;
        let will = self.status(AgentState::Offline, None, backlog);
        let mut link = Link::open(&self.broker, self.timing.connect_limit, Some(will));
        let limits = loop {
            tokio::select! {
                report = link.next() => if let Report::Connected(limits) = report? {
                    break limits;
                },
                () = async { asked(&mut self.shutdown).await; sleep(self.timing.drain_limit).await } => return Ok(()),
            }
        };
        Session::new(self, course, link, limits).run().await
    }

    /// Takes acknowledged rows out of the outbox. A disk that refuses keeps them there: they are tried again,
    /// and at worst sent twice.
    pub(super) async fn clear_outbox(&self, acknowledged: &mut Vec<RowId>) -> Result<(), StoreError> {
        if acknowledged.is_empty() {
            return Ok(());
        }
        match self.store.acknowledged(acknowledged.clone()).await {
            Ok(()) => acknowledged.clear(),
            Err(StoreError::Ended) => return Err(StoreError::Ended),
            Err(error) => {
                tracing::warn!(station = &*self.origin.station, %error, "outbox not cleared, trying again");
            }
        }
        Ok(())
    }

    /// Puts a row behind the others. A disk that refuses leaves it where it is: the next connection sends it again.
    pub(super) async fn note_refused(&self, row: RowId, why: String) -> Result<(), StoreError> {
        match self.store.refused(row, Timestamp::now(), why).await {
            Ok(()) => Ok(()),
            Err(StoreError::Ended) => Err(StoreError::Ended),
            Err(error) => {
                tracing::warn!(station = &*self.origin.station, %error, "refusal not noted");
                Ok(())
            }
        }
    }

    pub(super) fn status(&self, state: AgentState, since: Option<Timestamp>, backlog: Backlog) -> Letter {
        Letter {
            topic: self.topics.status(),
            payload: wire::status(
                self.origin.boot_id,
                state,
                since,
                Timestamp::now(),
                &self.snapshot.borrow(),
                backlog,
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

/// Returns once shutdown is asked for; whoever dropped the sender is gone and wants it too.
pub(super) async fn asked(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|asked| *asked).await;
}
