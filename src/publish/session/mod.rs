//! One connection as the pump uses it: what is sent when, from its first `status` to its last.
//!
//! `verdict` messages go in three lanes: live (committed after the connection stood), backlog (committed before), and
//! those that the broker refused. Live ones always go first, and the backlog never holds more than half of the
//! window, so that none waits behind it; the backlog keeps to its rate; a refused one goes when nothing else is
//! to be sent. What is not live is flagged `historical`.
//! Guarantees: within a lane in order of commitment; at most [`WINDOW`] verdicts unanswered, and at most what the
//! broker takes; each until its PUBACK. `last` is always the newest verdict and never one of the backlog; `status`
//! is said again at once when a condition changed and each second when a counter did, one at a time. A log that does
//! not answer stops neither it nor the heartbeat.
//! Costs: a read of the store for each live verdict and for each burst of the backlog.

mod answers;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::lane::{Lane, Shown, Stretch};
use super::link::{Class, Letter, Limits, Link, Report};
use super::pump::{Course, Pump, asked};
use super::wire::{self, AgentState};
use super::{Commands, Fault};
use crate::capture::trigger::Answer;
use crate::store::{self, RowId, StoreError, StoreHandle};

/// Verdicts that may be unanswered; well below what [`Link`] and a broker's default (20) hold.
const WINDOW: usize = 16;

/// Of what the broker takes, what is kept for `last` and `status`.
const SHOWN: usize = 2;

/// And for answers to commands; more of them wait.
const ANSWERS: usize = 2;

/// Acknowledged rows that are taken out of the outbox together, at the latest each second.
const ACKNOWLEDGED_BATCH: usize = 32;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// Tells our messages apart when the broker answers for them.
pub(super) enum Sent {
    Verdict(RowId),
    Last,
    Status,
    Answer,
    Stopped,
    Heartbeat,
}

/// A verdict that the broker has not answered for.
struct InFlight {
    lane: Lane,
    captured_at: Option<Timestamp>,
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

/// What one connection knows.
pub(super) struct Session<'a> {
    pump: &'a mut Pump,
    course: &'a mut Course,
    link: Link<Sent>,
    newest: watch::Receiver<RowId>,
    /// The newest row when the connection stood: up to here messages are historical.
    before: RowId,
    since: Timestamp,
    live: Stretch,
    backlog: Stretch,
    /// Verdicts that the broker has not answered for.
    in_flight: BTreeMap<RowId, InFlight>,
    /// How many of these the broker and we allow.
    most_in_flight: usize,
    /// A newer verdict may stand in the log than was shown.
    last_due: bool,
    last: Shown<RowId>,
    status: Shown<String>,
    seconds: Interval,
    /// Answers to commands that the broker has not answered for.
    answers_in_flight: usize,
    /// Set once shutdown is asked: when draining ends.
    leaving: Option<Instant>,
}

impl<'a> Session<'a> {
    /// On a link that has just been accepted.
    pub(super) fn new(pump: &'a mut Pump, course: &'a mut Course, link: Link<Sent>, limits: Limits) -> Self {
        let mut newest = pump.store.newest_row();
        let before = *newest.borrow_and_update();
        let mut seconds = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let since = pump.connected(); // announced after `before` is read: what is committed from now on is live
        Self {
            pump,
            link,
            newest,
            before,
            since,
            live: Stretch { sent: before, until: RowId::END, may_have_more: true },
            backlog: Stretch { sent: RowId::START, until: before, may_have_more: true },
            in_flight: BTreeMap::new(),
            most_in_flight: limits.unacknowledged.saturating_sub(SHOWN + ANSWERS).clamp(1, WINDOW),
            course,
            last_due: true,
            last: Shown::new(RowId::START),
            status: Shown::new(String::new()),
            seconds,
            answers_in_flight: 0,
            leaving: None,
        }
    }

    /// `Ok` when it ended as asked.
    pub(super) async fn run(mut self) -> Result<(), Broken> {
        let ended = self.converse().await;
        if let Err(Broken::Broker(fault)) = &ended {
            self.set_aside(fault);
        }
        ended
    }

    async fn converse(&mut self) -> Result<(), Broken> {
        self.send_status()?;
        self.subscribe()?;
        loop {
            self.pump.pulse.idle();
            self.settle().await?;
            self.send_live().await?;
            self.send_backlog().await?;
            self.send_refused().await?;
            self.send_last().await?;
            if self.leaving.is_some_and(|deadline| self.drained() || Instant::now() >= deadline) {
                return self.leave().await;
            }
            let (deadline, next) = (self.leaving, self.next_sending());
            tokio::select! {
                report = self.link.next() => self.note(report?),
                answer = answer(&mut self.pump.commands), if self.answers_in_flight < ANSWERS => {
                    self.send_answer(&answer)?;
                }
                changed = self.newest.changed() => {
                    changed.map_err(|_| StoreError::Ended)?;
                    self.live.may_have_more = true;
                    self.last_due = true;
                }
                _ = self.seconds.tick() => {
                    self.beat()?;
                    self.tell_log().await?;
                    self.look_at_outbox().await?;
                    self.send_status()?;
                }
                // Once the sender is gone shutdown follows.
                Ok(()) = self.pump.status.changed() => self.send_status()?,
                () = asked(&mut self.pump.shutdown), if deadline.is_none() => {
                    self.leaving = Some(Instant::now() + self.pump.timing.drain_limit);
                    // Asked after the last commit, but perhaps heard before the news of it.
                    self.live.may_have_more = true;
                    self.last_due = true;
                }
                () = passed(deadline) => {}
                () = passed(next) => {}
            }
        }
    }

    /// Asks the log. However long it takes, the broker is listened to, the heart beats and `status` is said.
    async fn ask_log<T, A>(&mut self, ask: impl FnOnce(StoreHandle, Arc<str>) -> A) -> Result<T, Broken>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let mut asked = pin!(ask(self.pump.store.clone(), Arc::clone(&self.pump.origin.station)));
        loop {
            tokio::select! {
                biased;
                told = &mut asked => return Ok(told?),
                report = self.link.next() => self.note(report?),
                answer = answer(&mut self.pump.commands), if self.answers_in_flight < ANSWERS => {
                    self.send_answer(&answer)?;
                }
                _ = self.seconds.tick() => {
                    self.beat()?;
                    self.send_status()?;
                }
            }
            self.pump.pulse.idle();
        }
    }

    async fn look_at_outbox(&mut self) -> Result<(), Broken> {
        let backlog = self.ask_log(|store, station| async move { store.backlog(&station).await }).await?;
        self.pump.outbox.send_replace(backlog);
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), Fault> {
        let Some(commands) = &mut self.pump.commands else { return Ok(()) };
        commands.connected();
        self.link.subscribe(self.pump.topics.trigger())
    }

    fn send_answer(&mut self, answer: &Answer) -> Result<(), Fault> {
        self.answers_in_flight += 1;
        let letter = Letter {
            topic: self.pump.topics.trigger_ack(),
            payload: wire::trigger_ack(self.pump.origin.boot_id, answer),
            class: Class::Acknowledged,
        };
        self.link.publish(letter, Sent::Answer)
    }

    async fn send_live(&mut self) -> Result<(), Broken> {
        self.send_from(Lane::Live, self.room()).await.map(|_| ())
    }

    /// How many verdicts may be unanswered now.
    fn window(&self) -> usize {
        if self.course.suspects.one_by_one() { 1 } else { self.most_in_flight }
    }

    fn room(&self) -> usize {
        self.window().saturating_sub(self.in_flight.len())
    }

    async fn send_backlog(&mut self) -> Result<(), Broken> {
        let allowed = self.course.pace.allowed(Instant::now());
        let sent = self.send_from(Lane::Backlog, self.room_for_backlog().min(allowed)).await?;
        self.course.pace.spend(sent);
        if self.nothing_waits() {
            self.course.suspects.clear();
        }
        Ok(())
    }

    /// Behind every live verdict, and in no more than half of the window, so that there is room for the next.
    fn room_for_backlog(&self) -> usize {
        if self.live.may_have_more {
            return 0;
        }
        let of_backlog = self.in_flight.values().filter(|sent| sent.lane == Lane::Backlog).count();
        (self.window() / 2).max(1).saturating_sub(of_backlog).min(self.room())
    }

    /// Sends up to `room` rows of a lane; how many there were.
    async fn send_from(&mut self, lane: Lane, room: usize) -> Result<usize, Broken> {
        let stretch = if lane == Lane::Live { &self.live } else { &self.backlog };
        if !stretch.may_have_more || room == 0 {
            return Ok(0);
        }
        let (sent, until) = (stretch.sent, stretch.until);
        let rows = self
            .ask_log(|store, station| async move { store.outbox_between(&station, sent, until, room).await })
            .await?;
        let stretch = if lane == Lane::Live { &mut self.live } else { &mut self.backlog };
        stretch.may_have_more = rows.len() == room;
        stretch.sent = rows.last().map_or(stretch.sent, |message| message.row);
        let count = rows.len();
        for message in rows {
            self.send(message, lane)?;
        }
        Ok(count)
    }

    fn send(&mut self, message: store::Message, lane: Lane) -> Result<(), Fault> {
        self.in_flight.insert(message.row, InFlight { lane, captured_at: message.captured_at });
        let payload = if lane == Lane::Live { message.text } else { wire::as_historical(&message.text) };
        let letter = Letter { topic: self.pump.topics.verdict(), payload, class: Class::Acknowledged };
        self.link.publish(letter, Sent::Verdict(message.row))
    }

    /// One refused row at a time, when it is due and nothing else is to be sent.
    async fn send_refused(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        let due = self.course.retry.due().is_some_and(|due| due <= now);
        if !due || !self.nothing_waits() || self.leaving.is_some() || self.course.pace.allowed(now) == 0 {
            return Ok(());
        }
        let longest =
            self.ask_log(|store, station| async move { store.longest_refused(&station).await }).await?;
        match longest {
            Some(message) => {
                self.course.pace.spend(1);
                self.send(message, Lane::Refused)?;
            }
            None => self.course.retry.none(),
        }
        Ok(())
    }

    /// When there is something to send that waits for the clock only.
    fn next_sending(&self) -> Option<Instant> {
        let pace = self.course.pace.next();
        if self.backlog.may_have_more && self.room_for_backlog() > 0 {
            return Some(pace);
        }
        let due = self.course.retry.due().filter(|_| self.nothing_waits() && self.leaving.is_none())?;
        Some(due.max(pace))
    }

    /// Everything but refused rows is sent and answered for.
    fn nothing_waits(&self) -> bool {
        !self.live.may_have_more && !self.backlog.may_have_more && self.in_flight.is_empty()
    }

    async fn send_last(&mut self) -> Result<(), Broken> {
        // The connection may end over the newest verdict: where it is looked for, it is not shown either.
        if !self.last_due || self.last.in_flight || self.course.suspects.one_by_one() {
            return Ok(());
        }
        self.last_due = false;
        let newest =
            self.ask_log(|store, station| async move { store.newest_message(&station).await }).await?;
        let Some(message) = newest.filter(|message| message.row > self.last.value) else {
            return Ok(()); // the row was another station's, or is refused
        };
        self.last.in_flight = true;
        self.last.value = message.row;
        let late = message.row <= self.before;
        let letter = Letter {
            topic: self.pump.topics.last(),
            payload: if late { wire::as_historical(&message.text) } else { message.text },
            class: Class::Retained,
        };
        Ok(self.link.publish(letter, Sent::Last)?)
    }

    fn send_status(&mut self) -> Result<(), Fault> {
        self.log_refusal();
        let letter = self.pump.status(AgentState::Online, Some(self.since));
        if !self.status.in_flight && letter.payload != self.status.value {
            self.status.in_flight = true;
            self.status.value.clone_from(&letter.payload);
            self.link.publish(letter, Sent::Status)?;
        }
        Ok(())
    }

    /// When it changed, not each time.
    fn log_refusal(&mut self) {
        let backlog = self.pump.outbox.borrow();
        if backlog.refusal == self.course.refusal {
            return;
        }
        let station = &*self.pump.origin.station;
        match &backlog.refusal {
            Some(why) => tracing::warn!(
                station,
                rows = backlog.refused,
                why,
                "the broker does not take verdicts; they stay in the outbox and are tried again later"
            ),
            None => tracing::info!(station, "the broker took every verdict that it had refused"),
        }
        self.course.refusal.clone_from(&backlog.refusal);
    }

    /// Each second.
    fn beat(&mut self) -> Result<(), Fault> {
        let limit = self.pump.timing.acknowledge_limit;
        if self.link.waiting_since().is_some_and(|since| since.elapsed() > limit) {
            return Err(Fault::NoAnswer("a message was not acknowledged in time"));
        }
        self.course.heartbeats += 1;
        let letter = Letter {
            topic: self.pump.topics.heartbeat(),
            payload: wire::heartbeat(self.pump.origin.boot_id, self.course.heartbeats, Timestamp::now()),
            class: Class::Unacknowledged,
        };
        self.link.publish(letter, Sent::Heartbeat)
    }

    fn drained(&self) -> bool {
        let shown = !self.last_due && !self.last.in_flight || self.course.suspects.one_by_one();
        let answered =
            self.answers_in_flight == 0 && self.pump.commands.as_ref().is_none_or(Commands::all_answered);
        self.nothing_waits() && shown && answered
    }

    /// Says `stopped` and disconnects in order, so that the will stays unsaid.
    async fn leave(&mut self) -> Result<(), Broken> {
        self.tell_log().await?;
        self.look_at_outbox().await?;
        let left = self.pump.outbox.borrow().depth;
        let stopped = self.pump.status(AgentState::Stopped, Some(Timestamp::now()));
        self.link.publish(stopped, Sent::Stopped)?;
        let farewell = async {
            loop {
                match self.link.next().await? {
                    Report::Acknowledged(Sent::Stopped) | Report::Refused(Sent::Stopped, _) => {
                        self.link.disconnect()?;
                    }
                    Report::Acknowledged(Sent::Verdict(row)) => self.course.acknowledged.push(row),
                    Report::Closed => return Ok(()),
                    // A row refused now is refused again at the next start.
                    Report::Acknowledged(_) | Report::Refused(..) | Report::Connected(_) => {}
                    Report::Heard(_) | Report::Deaf(_) => {}
                }
            }
        };
        let limit = self.pump.timing.farewell_limit;
        let unheard = Err(Broken::Broker(Fault::NoAnswer("the last status was not acknowledged in time")));
        tokio::time::timeout(limit, farewell).await.unwrap_or(unheard)?;
        tracing::info!(station = &*self.pump.origin.station, left, "left the broker");
        Ok(())
    }
}

/// The next answer to a command; never, where there are no commands.
async fn answer(commands: &mut Option<Commands>) -> Answer {
    match commands {
        Some(commands) => commands.answer().await,
        None => std::future::pending().await,
    }
}

/// Returns at the deadline, or never without one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
