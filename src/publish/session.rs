//! One connection as the pump uses it: what is sent when, from its first `status` to its last.
//!
//! Guarantees: `verdict` messages go in order of commitment, at most [`WINDOW`] unacknowledged, each until its
//! PUBACK. A message committed before the connection stood is flagged `historical`. `last` is always the
//! newest verdict and never one of the backlog; `status` is said again when it changed, at most once a second.
//! Leaves out: live verdicts before the backlog, which here share one order.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::Fault;
use super::link::{Class, Letter, Link, Report};
use super::pump::{Course, Pump, asked};
use super::wire::{self, AgentState};
use crate::store::{RowId, StoreError};

/// Verdicts that may be unacknowledged; well below what [`Link`] and a broker's default (20) hold.
const WINDOW: usize = 16;

/// Acknowledged rows that are taken out of the outbox together, at the latest each second.
const ACKNOWLEDGED_BATCH: usize = 32;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// Tells our messages apart when the broker acknowledges them.
pub(super) enum Sent {
    Verdict(RowId),
    Last,
    Status,
    Stopped,
    Heartbeat,
}

/// Why a session ended that was not asked to.
pub(super) enum Broken {
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

/// A retained message of which only the newest state counts: one is in flight at a time.
struct Shown<T> {
    in_flight: bool,
    value: T,
}

/// What one connection knows.
pub(super) struct Session<'a> {
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
    /// A newer verdict may stand in the log than was shown.
    last_due: bool,
    last: Shown<RowId>,
    status: Shown<String>,
    /// Set once shutdown is asked: when draining ends.
    leaving: Option<Instant>,
}

impl<'a> Session<'a> {
    /// On a link that has just been accepted.
    pub(super) fn new(pump: &'a mut Pump, course: &'a mut Course, link: Link<Sent>) -> Self {
        let mut newest = pump.store.newest_row();
        let before = *newest.borrow_and_update();
        let since = pump.connected(); // announced after `before` is read: what is committed from now on is live
        Self {
            pump,
            course,
            link,
            newest,
            before,
            since,
            cursor: RowId::START,
            in_flight: 0,
            outbox_may_have_more: true,
            last_due: true,
            last: Shown { in_flight: false, value: RowId::START },
            status: Shown { in_flight: false, value: String::new() },
            leaving: None,
        }
    }

    /// `Ok` when it ended as asked.
    pub(super) async fn run(mut self) -> Result<(), Broken> {
        let mut seconds = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send_status().await?;
        loop {
            self.pump.pulse.idle();
            self.send_verdicts().await?;
            self.send_last().await?;
            if self.leaving.is_some_and(|deadline| self.drained() || Instant::now() >= deadline) {
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
                    self.last_due = true;
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
            let rows = self.pump.store.outbox_after(&self.pump.origin.station, self.cursor, room).await?;
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
        if !self.last_due || self.last.in_flight {
            return Ok(());
        }
        self.last_due = false;
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
        if self.link.waiting_since().is_some_and(|since| since.elapsed() > limit) {
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
        !self.outbox_may_have_more && self.in_flight == 0 && !self.last_due && !self.last.in_flight
    }

    /// Says `stopped` and disconnects in order, so that the will stays unsaid.
    async fn leave(mut self) -> Result<(), Broken> {
        self.pump.clear_outbox(&mut self.course.acknowledged).await?;
        let backlog = self.pump.store.backlog(&self.pump.origin.station).await?;
        let stopped = self.pump.status(AgentState::Stopped, Some(Timestamp::now()), backlog);
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
        let unheard = Err(Broken::Broker(Fault::NoAnswer("the last status was not acknowledged in time")));
        tokio::time::timeout(limit, farewell).await.unwrap_or(unheard)?;
        tracing::info!(station = &*self.pump.origin.station, left = backlog.depth, "left the broker");
        Ok(())
    }

    /// The message as this connection sends it.
    fn dated(&self, row: RowId, text: String) -> String {
        if row <= self.before { wire::as_historical(&text) } else { text }
    }
}

/// Returns at the deadline, or never without one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
