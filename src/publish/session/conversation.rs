//! The loop of one connection, from its first `status` message to its last.
//!
//! Guarantees: `status` is sent at once when a condition changes, and within a second when its content changes otherwise; one
//! is in flight at a time. A store that does not answer stops neither `status` nor the heartbeat, and does not delay the end
//! of the agent beyond its limits.

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
    /// Uses the connection until it ends. `Ok` if it ended because a shutdown was requested.
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
                    self.send_heartbeat()?;
                    self.subscribe()?;
                    self.update_store().await?;
                    self.read_outbox().await?;
                    self.send_status()?;
                }
                // When the sender is dropped, a shutdown follows.
                Ok(()) = self.context.status.changed() => self.send_status()?,
                () = shutdown_requested(&mut self.context.shutdown), if deadline.is_none() => {
                    self.begin_to_leave();
                }
                () = passed(deadline) => {}
                () = passed(next) => {}
            }
        }
    }

    /// A shutdown was requested: the rest of the outbox is sent, until a deadline.
    fn begin_to_leave(&mut self) {
        self.leaving = Some(Instant::now() + self.context.timing.drain_limit);
        // The request was made after the last commit, but it may arrive before the notice of that commit.
        self.live.may_have_more = true;
        self.last_due = true;
    }

    /// Asks the store. While it has not answered, events of the connection are recorded, and heartbeat and `status` are sent.
    /// `None` if the store has not answered before the session must end.
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
                    self.send_heartbeat()?;
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

    /// Reads how much waits in the outbox, for `status`.
    async fn read_outbox(&mut self) -> Result<(), SessionEnd> {
        let backlog =
            self.ask_store(|store, station| async move { store.backlog(&station, JSON).await }).await?;
        if let Some(backlog) = backlog {
            self.context.outbox.send_replace(backlog);
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), BrokerFault> {
        let Some(commands) = &mut self.context.commands else { return Ok(()) };
        if self.subscribed || self.leaving.is_some() {
            return Ok(());
        }
        if self.progress.subscribe_after.is_some_and(|after| after > Instant::now()) {
            let topic = self.context.topics.trigger();
            self.context.pulse.failed(format!(
                "{topic}: triggers are not received for some minutes, because a message there was too large to be read; delete it if the broker keeps it: mosquitto_pub -r -n -t {topic}"
            ));
            return Ok(());
        }
        self.subscribed = true;
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

    /// Logs why the broker refuses verdicts, once for each change.
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
                "the broker refuses verdicts; they stay in the outbox and are sent again later"
            ),
            None => tracing::info!(station, "the broker has acknowledged every verdict that it had refused"),
        }
        self.progress.refusal.clone_from(&backlog.refusal);
    }

    /// Sends a heartbeat; called each second. An error if the broker has not acknowledged a message in time.
    fn send_heartbeat(&mut self) -> Result<(), BrokerFault> {
        let limit = self.context.timing.acknowledge_limit;
        if self.link.waiting_since().is_some_and(|since| since.elapsed() > limit) {
            return Err(BrokerFault::NoAnswer("a message was not acknowledged in time"));
        }
        if self.progress.losses.cleared(Instant::now()) {
            tracing::info!(
                station = &*self.context.origin.station,
                "connected to the broker, and the connection holds"
            );
        }
        let letter = heartbeat::next(self.context, self.progress);
        self.link.publish(letter, Sent::Heartbeat)
    }

    /// Whether everything but refused rows is sent and answered.
    fn drained(&self) -> bool {
        let last_is_sent = !self.last_due && !self.last.in_flight || self.progress.suspects.one_by_one();
        let answered =
            self.answers_in_flight == 0 && self.context.commands.as_ref().is_none_or(Commands::all_answered);
        self.nothing_waits() && last_is_sent && answered
    }

    /// Sends `stopped` and disconnects orderly, so that the broker does not send the will.
    async fn leave(&mut self) -> Result<(), SessionEnd> {
        self.leaving = Some(Instant::now() + STORE_LIMIT_AT_END);
        self.update_store().await?;
        self.read_outbox().await?;
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
                    LinkEvent::Received(_) | LinkEvent::Subscribed | LinkEvent::SubscribeRefused(_) => {}
                }
            }
        };
        let limit = self.context.timing.farewell_limit;
        let unanswered =
            Err(SessionEnd::Broker(BrokerFault::NoAnswer("the last status was not acknowledged in time")));
        tokio::time::timeout(limit, farewell).await.unwrap_or(unanswered)?;
        tracing::info!(
            station = &*self.context.origin.station,
            left,
            "left the broker; {left} verdicts stay in the outbox"
        );
        Ok(())
    }
}

/// The next answer to a command. Never returns if there are no commands.
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
