//! Sends the outbox: which verdicts, and in which order.
//!
//! `verdict` messages are sent in three lanes: live (committed after the connection came up), backlog (committed before),
//! and those that the broker refused earlier. Live verdicts are sent first. The backlog keeps to its rate and never fills
//! more than half of the window, so that no live verdict waits behind it. A refused verdict is sent only when nothing else
//! waits. Whatever is not live is marked `historical`.
//! Guarantees: within the live lane and within the backlog, verdicts are sent in the order of their commit. At most
//! [`WINDOW`](super::state) verdicts are unanswered, or fewer if the broker allows fewer. `last` is always the newest verdict.
//! Costs: one read of the store for each live verdict and for each burst of the backlog.

use tokio::time::Instant;

use super::state::{InFlight, Sent, Session, SessionEnd};
use crate::publish::broker::BrokerFault;
use crate::publish::json_output::{self, JSON, Timeliness};
use crate::publish::lane::Lane;
use crate::publish::link::{Class, Letter};
use crate::store::OutboxRow;

impl Session<'_> {
    pub(super) async fn send_live(&mut self) -> Result<(), SessionEnd> {
        self.send_from(Lane::Live, self.room()).await.map(|_| ())
    }

    /// How many verdicts may be unanswered now.
    pub(super) fn window(&self) -> usize {
        if self.progress.suspects.one_by_one() { 1 } else { self.most_in_flight }
    }

    pub(super) fn room(&self) -> usize {
        self.window().saturating_sub(self.in_flight.len())
    }

    pub(super) async fn send_backlog(&mut self) -> Result<(), SessionEnd> {
        let allowed = self.progress.backlog_rate.allowed(Instant::now());
        let sent = self.send_from(Lane::Backlog, self.room_for_backlog().min(allowed)).await?;
        self.progress.backlog_rate.spend(sent);
        if self.nothing_waits() {
            self.progress.suspects.clear();
        }
        Ok(())
    }

    /// How many verdicts of the backlog may be sent now: none while live ones wait, and never more than half of the window,
    /// so that there is room for the next live one.
    pub(super) fn room_for_backlog(&self) -> usize {
        if self.live.may_have_more {
            return 0;
        }
        let of_backlog = self.in_flight.values().filter(|sent| sent.lane == Lane::Backlog).count();
        (self.window() / 2).max(1).saturating_sub(of_backlog).min(self.room())
    }

    /// Sends up to `room` rows of a lane; returns how many.
    pub(super) async fn send_from(&mut self, lane: Lane, room: usize) -> Result<usize, SessionEnd> {
        let stretch = if lane == Lane::Live { &self.live } else { &self.backlog };
        if !stretch.may_have_more || room == 0 {
            return Ok(0);
        }
        let (sent, until) = (stretch.sent, stretch.until);
        let answered = self
            .ask_store(|store, station| async move {
                store.outbox_between(&station, JSON, sent, until, room).await
            })
            .await?;
        let Some(rows) = answered else { return Ok(0) };
        let stretch = if lane == Lane::Live { &mut self.live } else { &mut self.backlog };
        stretch.may_have_more = rows.len() == room;
        stretch.sent = rows.last().map_or(stretch.sent, |message| message.row);
        let count = rows.len();
        for message in rows {
            self.send(message, lane)?;
        }
        Ok(count)
    }

    pub(super) fn send(&mut self, message: OutboxRow, lane: Lane) -> Result<(), BrokerFault> {
        self.in_flight.insert(message.row, InFlight { lane, captured_at: message.captured_at });
        let timeliness = if lane == Lane::Live { Timeliness::Live } else { Timeliness::Historical };
        let payload = json_output::message(message.payload, timeliness);
        let letter = Letter { topic: self.context.topics.verdict(), payload, class: Class::Acknowledged };
        self.link.publish(letter, Sent::Verdict(message.row))
    }

    /// Sends one refused row, if it is due and nothing else waits to be sent.
    pub(super) async fn send_refused(&mut self) -> Result<(), SessionEnd> {
        let now = Instant::now();
        let due = self.progress.retry.due().is_some_and(|due| due <= now);
        if !due
            || !self.nothing_waits()
            || self.leaving.is_some()
            || self.progress.backlog_rate.allowed(now) == 0
        {
            return Ok(());
        }
        let longest = self
            .ask_store(|store, station| async move { store.longest_refused(&station, JSON).await })
            .await?;
        let Some(longest) = longest else { return Ok(()) };
        match longest {
            Some(message) => {
                self.progress.backlog_rate.spend(1);
                self.send(message, Lane::Refused)?;
            }
            None => self.progress.retry.none(),
        }
        Ok(())
    }

    /// When the next message is due of those that wait for a point in time only.
    pub(super) fn next_sending(&self) -> Option<Instant> {
        let pace = self.progress.backlog_rate.next();
        if self.backlog.may_have_more && self.room_for_backlog() > 0 {
            return Some(pace);
        }
        let due = self.progress.retry.due().filter(|_| self.nothing_waits() && self.leaving.is_none())?;
        Some(due.max(pace))
    }

    /// Whether every row but the refused ones is sent and answered.
    pub(super) fn nothing_waits(&self) -> bool {
        !self.live.may_have_more && !self.backlog.may_have_more && self.in_flight.is_empty()
    }

    pub(super) async fn send_last(&mut self) -> Result<(), SessionEnd> {
        // The newest verdict may be the reason why connections end. While that row is searched for, `last` is not sent either.
        if !self.last_due || self.last.in_flight || self.progress.suspects.one_by_one() {
            return Ok(());
        }
        self.last_due = false;
        let newest = self
            .ask_store(|store, station| async move { store.newest_message(&station, JSON).await })
            .await?;
        let Some(message) = newest.flatten().filter(|message| message.row > self.last.value) else {
            return Ok(()); // the row was another station's, or is refused
        };
        self.last.in_flight = true;
        self.last.value = message.row;
        let late = message.row <= self.before;
        let timeliness = if late { Timeliness::Historical } else { Timeliness::Live };
        let letter = Letter {
            topic: self.context.topics.last(),
            payload: json_output::message(message.payload, timeliness),
            class: Class::Retained,
        };
        Ok(self.link.publish(letter, Sent::Last)?)
    }
}
