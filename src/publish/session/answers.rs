//! Records the broker's answers on a connection, and updates the store with them.
//!
//! Guarantees: recording an answer never blocks; the store is updated before the next query that depends on it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::time::Instant;

use super::state::{ACKNOWLEDGED_BATCH, InFlight, Sent, Session, SessionEnd};
use crate::publish::broker::BrokerFault;
use crate::publish::lane::Lane;
use crate::publish::link::{IncomingMessage, LinkEvent};
use crate::publish::settle;
use crate::store::RowId;

impl Session<'_> {
    /// Records what happened on the connection. The store is updated later, so that nothing here waits.
    pub(super) fn note(&mut self, event: LinkEvent<Sent>) {
        match event {
            LinkEvent::Acknowledged(sent) => self.acknowledged(sent),
            LinkEvent::Refused(sent, why) => self.refused(sent, why),
            LinkEvent::Received(message) => self.receive(message),
            LinkEvent::SubscribeRefused(why) => self.subscribe_refused(why),
            LinkEvent::Connected(_) | LinkEvent::Subscribed | LinkEvent::Closed => {}
        }
    }

    /// Updates the store now if that cannot wait: before the store is asked for the next row, a refused row that was sent again
    /// and acknowledged must be deleted, and a newly refused one must be recorded.
    pub(super) async fn settle(&mut self) -> Result<(), SessionEnd> {
        let tried_again = self.progress.retry.due().is_some_and(|due| due <= Instant::now());
        let many = self.progress.acknowledged.len() >= ACKNOWLEDGED_BATCH;
        if !self.progress.refused.is_empty() || tried_again || many {
            self.update_store().await
        } else {
            Ok(())
        }
    }

    /// Deletes acknowledged rows from the outbox and records refused ones there. What the store does not take is kept for the
    /// next call.
    pub(super) async fn update_store(&mut self) -> Result<(), SessionEnd> {
        let rows = std::mem::take(&mut self.progress.acknowledged);
        let refused = std::mem::take(&mut self.progress.refused);
        let (again, refused_again) = (rows.clone(), refused.clone());
        match self.ask_store(|store, _| settle::settle(store, rows, refused)).await? {
            Some(left) => self.progress.acknowledged.extend(left),
            None => {
                self.progress.acknowledged.extend(again);
                self.progress.refused.extend(refused_again);
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: IncomingMessage) {
        if let Some(commands) = &mut self.context.commands {
            commands.receive(message);
        }
    }

    fn subscribe_refused(&self, why: &str) {
        let topic = self.context.topics.trigger();
        let fault = format!(
            "{topic}: the broker refused the subscription: {why}; triggers are not received: check its access rules"
        );
        tracing::error!("{fault}");
        self.context.pulse.failed(fault);
    }

    fn acknowledged(&mut self, sent: Sent) {
        self.answered();
        match sent {
            Sent::Verdict(row) => {
                match self.in_flight.remove(&row) {
                    Some(InFlight { lane: Lane::Live, captured_at: Some(at) }) => {
                        self.context.delivery.acknowledged(at, Timestamp::now());
                    }
                    Some(InFlight { lane: Lane::Refused, .. }) => {
                        self.progress.retry.acknowledged(Instant::now());
                    }
                    Some(InFlight { lane: Lane::Live | Lane::Backlog, .. }) | None => {}
                }
                self.progress.suspects.answered(row);
                self.progress.acknowledged.push(row);
            }
            Sent::Last => self.last.in_flight = false,
            Sent::Status => self.status.in_flight = false,
            Sent::Answer => self.answers_in_flight -= 1,
            Sent::Stopped | Sent::Heartbeat => {}
        }
    }

    fn refused(&mut self, sent: Sent, why: String) {
        self.answered();
        match sent {
            Sent::Verdict(row) => {
                let lane = self.in_flight.remove(&row).map(|sent| sent.lane);
                self.progress.suspects.answered(row);
                self.put_behind(row, lane, why);
            }
            Sent::Last => self.last.refused("last", &why),
            Sent::Status => self.status.refused("status", &why),
            Sent::Answer => {
                self.answers_in_flight -= 1;
                tracing::warn!("the broker refused the answer to a trigger: {why}; check its access rules");
            }
            Sent::Stopped | Sent::Heartbeat => {}
        }
    }

    fn answered(&mut self) {
        self.progress.losses.answered();
    }

    /// Records that a row was refused: from now on it is sent after all others.
    fn put_behind(&mut self, row: RowId, lane: Option<Lane>, why: String) {
        match lane {
            Some(Lane::Refused) => self.progress.retry.refused_again(Instant::now()),
            _ => self.progress.retry.refused(Instant::now()),
        }
        self.progress.refused.push((row, why));
    }

    /// Call this when the connection has ended because of a fault. If it is known which row caused that, this row is from now
    /// on sent after all others.
    pub(super) fn set_aside(&mut self, fault: &BrokerFault) {
        let (tried_again, mut others): (BTreeSet<RowId>, BTreeSet<RowId>) =
            self.in_flight.keys().partition(|row| self.in_flight[*row].lane == Lane::Refused);
        if self.last.in_flight {
            others.insert(self.last.value);
        }
        let found = self.progress.suspects.ended(&others);
        let why = || format!("when it was sent, {fault}");
        for row in tried_again {
            // A connection that was merely closed, perhaps by the network, says less than what the log has already.
            if *fault == BrokerFault::Closed {
                self.progress.retry.refused_again(Instant::now());
            } else {
                self.put_behind(row, Some(Lane::Refused), why());
            }
        }
        if let Some(row) = found {
            self.put_behind(row, None, why());
        }
    }
}
