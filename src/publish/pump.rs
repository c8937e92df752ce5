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
use tokio::time::sleep;

use super::link::{Class, Letter, Link};
use super::session::{Broken, Session};
use super::wire::{self, AgentState, Snapshot};
use super::{BrokerError, BrokerSettings, Connection, Fault, Topics};
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
}

impl Pump {
    /// Runs until `shutdown`, then drains, says `stopped` and leaves. Ends early only when the store does.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut course = Course { wait: self.timing.first_wait, heartbeats: 0, acknowledged: Vec::new() };
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
        tokio::select! {
            report = link.next() => report?,
            () = async { asked(&mut self.shutdown).await; sleep(self.timing.drain_limit).await } => return Ok(()),
        };
        Session::new(self, course, link).run().await
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

    pub(super) fn status(&self, state: AgentState, since: Option<Timestamp>, backlog: Backlog) -> Letter {
        Letter {
            topic: self.topics.status(),
            payload: wire::status(self.origin.boot_id, state, since, &self.snapshot.borrow(), backlog),
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
