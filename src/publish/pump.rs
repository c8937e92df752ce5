//! From the outbox to the broker and back: one task, one connection, one client id, one will per station.
//!
//! Guarantees: `verdict` messages go in order of commitment, at most [`WINDOW`] unacknowledged, each until
//! its PUBACK; after any fault a new connection starts from the outbox again (capped backoff with jitter,
//! changes of state logged, not tries). A message committed before its connection stood is flagged
//! `historical`. `last` is always the newest verdict and never one of the backlog. A broker that takes
//! messages and acknowledges none is left after [`Timing::acknowledge_limit`].
//! Leaves out: live verdicts before the backlog, which here share one order.
//! Costs: one sync of the disk for each batch of acknowledgements; after a crash their messages are sent again.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::link::{Class, Letter, Link, Report};
use super::wire::{self, AgentState, Snapshot};
use super::{BrokerError, BrokerSettings, Connection, Fault, Topics};
use crate::store::{Backlog, Origin, RowId, StoreError, StoreHandle};

/// Verdicts that may be unacknowledged; well below what [`Link`] and a broker's default (20) hold.
const WINDOW: usize = 16;

/// Acknowledged rows that are taken out of the outbox together, at the latest each second.
const ACKNOWLEDGED_BATCH: usize = 32;

const HEARTBEAT: Duration = Duration::from_secs(1);

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
}

/// Tells our messages apart when the broker acknowledges them.
enum Sent {
    Verdict(RowId),
    Last,
    Status,
    Stopped,
    Heartbeat,
}

/// Why a session ended that was not asked to.
enum Broken {
    Broker(Fault),
    Store(StoreError),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Broker(fault)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What outlives a connection.
struct Course {
    wait: Duration,
    heartbeats: u64,
    /// Acknowledged by the broker, still in the outbox.
    acknowledged: Vec<RowId>,
}

impl Pump {
    /// Runs until `shutdown`, then drains, says `stopped` and leaves. Ends early only when the store does.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut course = Course {
            wait: self.timing.first_wait,
            heartbeats: 0,
            acknowledged: Vec::new(),
        };
        loop {
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
        let mut newest = self.store.newest_row();
        let before = *newest.borrow_and_update();
        let since = self.connected();
        Session {
            pump: self,
            course,
            link,
            newest,
            before,
            since,
            cursor: RowId::START,
            in_flight: 0,
            outbox_may_have_more: true,
            last: Shown {
                due: true,
                in_flight: false,
                value: RowId::START,
            },
            status: Shown {
                due: true,
                in_flight: false,
                value: String::new(),
            },
            leaving: None,
        }
        .run()
        .await
    }

    /// Takes acknowledged rows out of the outbox. A disk that refuses keeps them there: they are tried again,
    /// and at worst sent twice.
    async fn clear_outbox(&self, acknowledged: &mut Vec<RowId>) -> Result<(), StoreError> {
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

    fn status(&self, state: AgentState, since: Option<Timestamp>, backlog: Backlog) -> Letter {
        Letter {
            topic: self.topics.status(),
            payload: wire::status(
                self.origin.boot_id,
                state,
                since,
                &self.snapshot.borrow(),
                backlog,
            ),
            class: Class::Retained,
        }
    }

    fn connected(&self) -> Timestamp {
        let since = Timestamp::now();
        tracing::info!(
            station = &*self.origin.station,
            root = self.topics.root(),
            "connected to the broker"
        );
        self.connection.send_replace(Connection::Connected { since });
        since
    }

    /// Logged and announced when the state or its reason changes, however often it is tried.
    fn disconnected(&self, fault: Fault) {
        let reason = BrokerError::new(&self.broker, fault);
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

/// A retained message of which only the newest state counts: one is in flight at a time.
struct Shown<T> {
    /// It may have changed since it was sent.
    due: bool,
    in_flight: bool,
    value: T,
}

/// What one connection knows.
struct Session<'a> {
    pump: &'a mut Pump,
    course: &'a mut Course,
    link: Link<Sent>,
    newest: watch::Receiver<RowId>,
    /// The newest row when the connection stood: up to here messages are historical.
    before: RowId,
    since: Timestamp,
    /// The last row handed to the link.
    cursor: RowId,
    /// Verdicts without PUBACK.
    in_flight: usize,
    outbox_may_have_more: bool,
    last: Shown<RowId>,
    status: Shown<String>,
    /// Set once shutdown is asked: when draining ends.
    leaving: Option<Instant>,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), Broken> {
        let mut seconds = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send_status().await?;
        loop {
            self.send_verdicts().await?;
            self.send_last().await?;
            if self
                .leaving
                .is_some_and(|deadline| self.drained() || Instant::now() >= deadline)
            {
                return self.leave().await;
            }
            let deadline = self.leaving;
            tokio::select! {
                report = self.link.next() => if let Report::Acknowledged(sent) = report? {
                    self.acknowledged(sent).await?;
                },
                changed = self.newest.changed() => {
                    changed.map_err(|_| StoreError::Ended)?;
                    self.outbox_may_have_more = true;
                    self.last.due = true;
                }
                _ = seconds.tick() => self.each_second().await?,
                () = asked(&mut self.pump.shutdown), if deadline.is_none() => {
                    self.leaving = Some(Instant::now() + self.pump.timing.drain_limit);
                }
                () = passed(deadline) => {}
            }
        }
    }

    /// Fills the window from the outbox, half a window at a time.
    async fn send_verdicts(&mut self) -> Result<(), Broken> {
        while self.outbox_may_have_more && self.in_flight <= WINDOW / 2 {
            let room = WINDOW - self.in_flight;
            let rows = self
                .pump
                .store
                .outbox_after(&self.pump.origin.station, self.cursor, room)
                .await?;
            self.outbox_may_have_more = rows.len() == room;
            for message in rows {
                self.cursor = message.row;
                self.in_flight += 1;
                let letter = Letter {
                    topic: self.pump.topics.verdict(),
                    payload: self.dated(message.row, message.text),
                    class: Class::Acknowledged,
                };
                self.link.publish(letter, Sent::Verdict(message.row))?;
            }
        }
        Ok(())
    }

    async fn send_last(&mut self) -> Result<(), Broken> {
        if !self.last.due || self.last.in_flight {
            return Ok(());
        }
        self.last.due = false;
        let newest = self.pump.store.newest_message(&self.pump.origin.station).await?;
        let Some(message) = newest.filter(|message| message.row > self.last.value) else {
            return Ok(()); // the row was another station's
        };
        self.last.in_flight = true;
        self.last.value = message.row;
        let letter = Letter {
            topic: self.pump.topics.last(),
            payload: self.dated(message.row, message.text),
            class: Class::Retained,
        };
        Ok(self.link.publish(letter, Sent::Last)?)
    }

    async fn send_status(&mut self) -> Result<(), Broken> {
        let backlog = self.pump.store.backlog(&self.pump.origin.station).await?;
        let letter = self.pump.status(AgentState::Online, Some(self.since), backlog);
        if !self.status.in_flight && letter.payload != self.status.value {
            self.status.in_flight = true;
            self.status.value.clone_from(&letter.payload);
            self.link.publish(letter, Sent::Status)?;
        }
        Ok(())
    }

    async fn each_second(&mut self) -> Result<(), Broken> {
        let limit = self.pump.timing.acknowledge_limit;
        if self
            .link
            .waiting_since()
            .is_some_and(|since| since.elapsed() > limit)
        {
            return Err(Fault::NoAnswer("a message was not acknowledged in time").into());
        }
        self.course.heartbeats += 1;
        let letter = Letter {
            topic: self.pump.topics.heartbeat(),
            payload: wire::heartbeat(self.pump.origin.boot_id, self.course.heartbeats, Timestamp::now()),
            class: Class::Unacknowledged,
        };
        self.link.publish(letter, Sent::Heartbeat)?;
        self.pump.clear_outbox(&mut self.course.acknowledged).await?;
        self.send_status().await
    }

    async fn acknowledged(&mut self, sent: Sent) -> Result<(), Broken> {
        // Whoever acknowledges is a broker that works: the next trouble is a new one.
        self.course.wait = self.pump.timing.first_wait;
        match sent {
            Sent::Verdict(row) => {
                self.in_flight -= 1;
                self.course.acknowledged.push(row);
                if self.course.acknowledged.len() >= ACKNOWLEDGED_BATCH {
                    self.pump.clear_outbox(&mut self.course.acknowledged).await?;
                }
            }
            Sent::Last => self.last.in_flight = false,
            Sent::Status => self.status.in_flight = false,
            Sent::Stopped | Sent::Heartbeat => {}
        }
        Ok(())
    }

    fn drained(&self) -> bool {
        !self.outbox_may_have_more && self.in_flight == 0 && !self.last.due && !self.last.in_flight
    }

    /// Says `stopped` and disconnects in order, so that the will stays unsaid.
    async fn leave(mut self) -> Result<(), Broken> {
        self.pump.clear_outbox(&mut self.course.acknowledged).await?;
        let backlog = self.pump.store.backlog(&self.pump.origin.station).await?;
        let stopped = self
            .pump
            .status(AgentState::Stopped, Some(Timestamp::now()), backlog);
        self.link.publish(stopped, Sent::Stopped)?;
        let farewell = async {
            loop {
                match self.link.next().await? {
                    Report::Acknowledged(Sent::Stopped) => self.link.disconnect()?,
                    Report::Acknowledged(Sent::Verdict(row)) => self.course.acknowledged.push(row),
                    Report::Closed => return Ok(()),
                    Report::Acknowledged(_) | Report::Connected => {}
                }
            }
        };
        let limit = self.pump.timing.farewell_limit;
        let unheard = Err(Broken::Broker(Fault::NoAnswer(
            "the last status was not acknowledged in time",
        )));
        tokio::time::timeout(limit, farewell).await.unwrap_or(unheard)?;
        tracing::info!(
            station = &*self.pump.origin.station,
            left = backlog.depth,
            "left the broker"
        );
        Ok(())
    }

    /// The message as this connection sends it.
    fn dated(&self, row: RowId, text: String) -> String {
        if row <= self.before {
            wire::as_historical(&text)
        } else {
            text
        }
    }
}

/// Returns at the deadline, or never without one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Returns once shutdown is asked for; whoever dropped the sender is gone and wants it too.
async fn asked(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|asked| *asked).await;
}
