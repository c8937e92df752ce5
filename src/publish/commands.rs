//! The commands of the line: `cmd/trigger`, read strictly.
//!
//! Guarantees: a command that the broker had kept (retained) or delivers a second time triggers nothing; what cannot be
//! understood is answered with the reason. Leaves out: who may give commands; the broker's access list decides that.

use super::link::IncomingMessage;
use super::wire::{TriggerMessage, read_trigger};
use crate::capture::Stamp;
use crate::capture::trigger::{Answer, Answers, TriggerRequest, Triggers};

/// The way from the line's commands to the station, and of its answers back.
pub struct Commands {
    triggers: Triggers,
    answers: Answers,
    /// The command before this one on the same connection: packet id and content.
    before: Option<(u16, Vec<u8>)>,
}

impl Commands {
    pub fn new(triggers: Triggers, answers: Answers) -> Self {
        Self { triggers, answers, before: None }
    }

    /// On a new connection packet ids start again.
    pub(super) fn connected(&mut self) {
        self.before = None;
    }

    pub(super) fn heard(&mut self, message: IncomingMessage) {
        let received = Stamp::now();
        if message.retained {
            tracing::warn!(
                "a trigger that the broker had kept is ignored; publish triggers without `retain`"
            );
            return;
        }
        let wanted = read_trigger(&message.payload);
        let command = Some((message.packet_id, message.payload));
        if message.again && command == self.before {
            tracing::warn!("a trigger that came a second time is ignored");
            return;
        }
        self.before = command;
        match wanted {
            Ok(TriggerMessage { part_id, meas_id }) => {
                self.triggers.ask(TriggerRequest { part_id, meas_id, received });
            }
            Err(why) => self.triggers.refuse(why),
        }
    }

    /// The next answer to be sent.
    pub(super) async fn answer(&mut self) -> Answer {
        self.answers.recv().await.expect("`triggers` holds the other end")
    }

    pub(super) fn all_answered(&self) -> bool {
        self.answers.is_empty()
    }
}
