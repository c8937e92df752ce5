//! What the broker answers on a connection, and how the log hears of it.
//!
//! Guarantees: taking an answer down waits for nothing; of what it means the log is told before the next row is
//! looked for that it bears on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{ACKNOWLEDGED_BATCH, Broken, InFlight, Sent, Session};
use crate::publish::lane::Lane;
use crate::publish::link::{Message, Report};
use crate::publish::{Fault, pump};
use crate::store::RowId;

impl Session<'_> {
    /// What happened on the connection. The log hears of it later: nothing here waits.
    pub(super) fn note(&mut self, report: Report<Sent>) {
        match report {
            Report::Acknowledged(sent) => self.acknowledged(sent),
            Report::Refused(sent, why) => self.refused(sent, why),
            Report::Heard(message) => self.heard(message),
            Report::Deaf(why) => self.deaf(why),
            Report::Connected(_) | Report::Closed => {}
        }
    }

    /// Tells the log how the broker answered, where that cannot wait: a row that was tried again must be gone, and a
    /// refused one noted, before the next is looked for.
    pub(super) async fn settle(&mut self) -> Result<(), Broken> {
        let tried_again = self.course.retry.due().is_some_and(|due| due <= Instant::now());
        let many = self.course.acknowledged.len() >= ACKNOWLEDGED_BATCH;
        if !self.course.refused.is_empty() || tried_again || many { self.tell_log().await } else { Ok(()) }
    }

    pub(super) async fn tell_log(&mut self) -> Result<(), Broken> {
        let rows = std::mem::take(&mut self.course.acknowledged);
        let refused = std::mem::take(&mut self.course.refused);
        let left = self.ask_log(|store, _| pump::settle(store, rows, refused)).await?;
        self.course.acknowledged.extend(left);
        Ok(())
    }

    fn heard(&mut self, message: Message) {
        if let Some(commands) = &mut self.pump.commands {
            commands.heard(message);
        }
    }

    fn deaf(&self, why: &str) {
        let topic = self.pump.topics.trigger();
        let fault = format!("{topic}: the broker lets nothing be heard there: {why}; check its access rules");
        tracing::error!("{fault}");
        self.pump.pulse.failed(fault);
    }

    fn acknowledged(&mut self, sent: Sent) {
        self.answered();
        match sent {
            Sent::Verdict(row) => {
                match self.in_flight.remove(&row) {
                    Some(InFlight { lane: Lane::Live, captured_at: Some(at) }) => {
                        self.pump.delivery.acknowledged(at, Timestamp::now());
                    }
                    Some(InFlight { lane: Lane::Refused, .. }) => self.course.retry.taken(Instant::now()),
                    Some(InFlight { lane: Lane::Live | Lane::Backlog, .. }) | None => {}
                }
                self.course.suspects.answered(row);
                self.course.acknowledged.push(row);
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
                self.course.suspects.answered(row);
                self.put_behind(row, lane, why);
            }
            Sent::Last => self.last.refused("last", &why),
            Sent::Status => self.status.refused("status", &why),
            Sent::Answer => {
                self.answers_in_flight -= 1;
                tracing::warn!("the broker does not take the answer to a trigger: {why}");
            }
            Sent::Stopped | Sent::Heartbeat => {}
        }
    }

    /// Whoever answers is a broker that works: the next trouble is a new one.
    fn answered(&mut self) {
        self.course.wait = self.pump.timing.first_wait;
    }

    fn put_behind(&mut self, row: RowId, lane: Option<Lane>, why: String) {
        match lane {
            Some(Lane::Refused) => self.course.retry.refused_again(Instant::now()),
            _ => self.course.retry.refused(Instant::now()),
        }
        self.course.refused.push((row, why));
    }

    /// After the connection ended by itself: puts the row behind the others that it ended over, if that is known.
    pub(super) fn set_aside(&mut self, fault: &Fault) {
        let (tried_again, mut others): (BTreeSet<RowId>, BTreeSet<RowId>) =
            self.in_flight.keys().partition(|row| self.in_flight[*row].lane == Lane::Refused);
        if self.last.in_flight {
            others.insert(self.last.value);
        }
        let found = self.course.suspects.ended(&others);
        let rows = tried_again.iter().map(|row| (*row, Some(Lane::Refused)));
        for (row, lane) in rows.chain(found.map(|row| (row, None))) {
            self.put_behind(row, lane, format!("when it was sent, {fault}"));
        }
    }
}
