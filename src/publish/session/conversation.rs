//! One connection from its first `status` to its last.
//!
//! Guarantees: `status` is sent again at once when a condition changed and each second when a counter did, one at a time.
//! A store that does not answer stops neither it nor the heartbeat, nor, once the agent stops, the end.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::state::{ANSWERS, Sent, Session, SessionEnd};
use crate::capture::trigger::Answer;
use crate::publish::broker::BrokerFault;
use crate::publish::commands::Commands;
use crate::publish::context::shutdown_requested;
use crate::publish::json_output::JSON;
use crate::publish::link::{Class, Letter, LinkEvent};
use crate::publish::settle::STORE_LIMIT_AT_END;
use crate::publish::{heartbeat, last_will, wire};
use crate::store::{StoreError, StoreHandle};

impl Session<'_> {
    /// `Ok` when it ended as asked.
    pub(in crate::publish) async fn run(mut self) -> Result<(), SessionEnd> {
        let ended = self.converse().await;
        if let Err(SessionEnd::Broker(fault)) = &ended {
            self.set_aside(fault);
        }
        ended
    }

    async fn converse(&mut self) -> Result<(), SessionEnd> {
        self.send_status()?;
        self.subscribe()?;
        loop {
            self.context.pulse.idle();
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
                event = self.link.next() => self.note(event?),
                answer = answer(&mut self.context.commands), if self.answers_in_flight < ANSWERS => {
                    self.send_answer(&answer)?;
                }
                changed = self.newest.changed() => {
                    changed.map_err(|_| StoreError::Ended)?;
                    self.live.may_have_more = true;
                    self.last_due = true;
                }
                _ = self.seconds.tick() => {
                    self.beat()?;
                    self.tell_store().await?;
                    self.look_at_outbox().await?;
                    self.send_status()?;
                }
                // Once the sender is gone shutdown follows.
                Ok(()) = self.context.status.changed() => self.send_status()?,
                () = shutdown_requested(&mut self.context.shutdown), if deadline.is_none() => {
                    self.begin_to_leave();
                }
                () = passed(deadline) => {}
                () = passed(next) => {}
            }
        }
    }

    /// From now on the outbox is drained, until a deadline.
    fn begin_to_leave(&mut self) {
        self.leaving = Some(Instant::now() + self.context.timing.drain_limit);
        // Requested after the last commit, but perhaps received before the news of it.
        self.live.may_have_more = true;
        self.last_due = true;
    }

    /// Asks the store. However long it takes, the broker is listened to, and heartbeat and `status` are sent. `None` when
    /// the store has not answered before the session must leave.
    pub(super) async fn ask_store<T, A>(
        &mut self,
        ask: impl FnOnce(StoreHandle, Arc<str>) -> A,
    ) -> Result<Option<T>, SessionEnd>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let mut asked = pin!(ask(self.context.store.clone(), Arc::clone(&self.context.origin.station)));
        loop {
            let deadline = self.leaving;
            tokio::select! {
                biased;
                answered = &mut asked => return Ok(Some(answered?)),
                event = self.link.next() => self.note(event?),
                answer = answer(&mut self.context.commands), if self.answers_in_flight < ANSWERS => {
                    self.send_answer(&answer)?;
                }
                _ = self.seconds.tick() => {
                    self.beat()?;
                    self.send_status()?;
                }
                () = shutdown_requested(&mut self.context.shutdown), if deadline.is_none() => {
                    self.begin_to_leave();
                }
                () = passed(deadline) => return Ok(None),
            }
            self.context.pulse.idle();
        }
    }

    async fn look_at_outbox(&mut self) -> Result<(), SessionEnd> {
        let backlog =
            self.ask_store(|store, station| async move { store.backlog(&station, JSON).await }).await?;
        if let Some(backlog) = backlog {
            self.context.outbox.send_replace(backlog);
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), BrokerFault> {
        let Some(commands) = &mut self.context.commands else { return Ok(()) };
        commands.connected();
        self.link.subscribe(self.context.topics.trigger())
    }

    fn send_answer(&mut self, answer: &Answer) -> Result<(), BrokerFault> {
        self.answers_in_flight += 1;
        let letter = Letter {
            topic: self.context.topics.trigger_ack(),
            payload: wire::trigger_ack(self.context.origin.boot_id, answer).into_bytes(),
            class: Class::Acknowledged,
        };
        self.link.publish(letter, Sent::Answer)
    }

    fn send_status(&mut self) -> Result<(), BrokerFault> {
        self.log_refusal();
        let letter = last_will::online(self.context, self.since);
        if !self.status.in_flight && letter.payload != self.status.value {
            self.status.in_flight = true;
            self.status.value.clone_from(&letter.payload);
            self.link.publish(letter, Sent::Status)?;
        }
        Ok(())
    }

    /// When it changed, not each time.
    fn log_refusal(&mut self) {
        let backlog = self.context.outbox.borrow();
        if backlog.refusal == self.progress.refusal {
            return;
        }
        let station = &*self.context.origin.station;
        match &backlog.refusal {
            Some(why) => tracing::warn!(
                station,
                rows = backlog.refused,
                why,
                "the broker does not take verdicts; they stay in the outbox and are tried again later"
            ),
            None => tracing::info!(station, "the broker took every verdict that it had refused"),
        }
        self.progress.refusal.clone_from(&backlog.refusal);
    }

    /// Each second.
    fn beat(&mut self) -> Result<(), BrokerFault> {
        let limit = self.context.timing.acknowledge_limit;
        if self.link.waiting_since().is_some_and(|since| since.elapsed() > limit) {
            return Err(BrokerFault::NoAnswer("a message was not acknowledged in time"));
        }
        let letter = heartbeat::next(self.context, self.progress);
        self.link.publish(letter, Sent::Heartbeat)
    }

    fn drained(&self) -> bool {
        let shown = !self.last_due && !self.last.in_flight || self.progress.suspects.one_by_one();
        let answered =
            self.answers_in_flight == 0 && self.context.commands.as_ref().is_none_or(Commands::all_answered);
        self.nothing_waits() && shown && answered
    }

    /// Sends `stopped` and disconnects in order, so that the broker does not send the will.
    async fn leave(&mut self) -> Result<(), SessionEnd> {
        self.leaving = Some(Instant::now() + STORE_LIMIT_AT_END);
        self.tell_store().await?;
        self.look_at_outbox().await?;
        let left = self.context.outbox.borrow().depth;
        self.link.publish(last_will::stopped(self.context), Sent::Stopped)?;
        let farewell = async {
            loop {
                match self.link.next().await? {
                    LinkEvent::Acknowledged(Sent::Stopped) | LinkEvent::Refused(Sent::Stopped, _) => {
                        self.link.disconnect()?;
                    }
                    LinkEvent::Acknowledged(Sent::Verdict(row)) => self.progress.acknowledged.push(row),
                    LinkEvent::Closed => return Ok(()),
                    // A row refused now is refused again at the next start.
                    LinkEvent::Acknowledged(_) | LinkEvent::Refused(..) | LinkEvent::Connected(_) => {}
                    LinkEvent::Heard(_) | LinkEvent::SubscribeRefused(_) => {}
                }
            }
        };
        let limit = self.context.timing.farewell_limit;
        let unanswered =
            Err(SessionEnd::Broker(BrokerFault::NoAnswer("the last status was not acknowledged in time")));
        tokio::time::timeout(limit, farewell).await.unwrap_or(unanswered)?;
        tracing::info!(station = &*self.context.origin.station, left, "left the broker");
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
