//! The commands of the line: `cmd/trigger`, read strictly.
//!
//! Guarantees: a command that the broker stored earlier (retained), or that it delivers a second time, triggers nothing. A
//! command that cannot be understood is answered with the reason.
//! Leaves out: who may give commands. The broker's access list decides that.

use super::link::{IncomingMessage, LARGEST_PACKET};
use super::wire::{TriggerMessage, read_trigger};
use crate::capture::Stamp;
use crate::capture::trigger::{Answer, Answers, TriggerRequest, Triggers};

/// Passes the line's commands to the station, and the station's answers back to the line.
pub struct Commands {
    triggers: Triggers,
    answers: Answers,
    /// Packet id and content of the previous command on this connection.
    before: Option<(u16, Vec<u8>)>,
}

impl Commands {
    pub fn new(triggers: Triggers, answers: Answers) -> Self {
        Self { triggers, answers, before: None }
    }

    /// Call this for each new connection: its packet ids start again.
    pub(super) fn connected(&mut self) {
        self.before = None;
    }

    pub(super) fn receive(&mut self, message: IncomingMessage) {
        let received = Stamp::now();
        if let Some(bytes) = message.too_large {
            let why = format!(
                "trigger: the message has {bytes} bytes; at most {LARGEST_PACKET} are allowed, and a trigger has some hundred"
            );
            if message.retained {
                tracing::warn!(
                    "the broker keeps a message on cmd/trigger that is no trigger: it has {bytes} bytes, and comes with each connection; delete it: mosquitto_pub -r -n -t …/cmd/trigger"
                );
            } else {
                self.triggers.refuse(why);
            }
            return;
        }
        if message.retained {
            tracing::warn!(
                "retained trigger ignored, since it may be an old one; publish triggers without `retain`"
            );
            return;
        }
        let wanted = read_trigger(&message.payload);
        let command = Some((message.packet_id, message.payload));
        if message.again && command == self.before {
            tracing::warn!("trigger ignored: the broker delivered it a second time");
            return;
        }
        self.before = command;
        match wanted {
            Ok(TriggerMessage { part_id, meas_id, left_out }) => {
                self.triggers.ask(TriggerRequest { part_id, meas_id, left_out, received });
            }
            Err(why) => self.triggers.refuse(why),
        }
    }

    /// The next answer to be sent.
    pub(super) async fn answer(&mut self) -> Answer {
        self.answers.recv().await.expect("`triggers` keeps the sender alive")
    }

    pub(super) fn all_answered(&self) -> bool {
        self.answers.is_empty()
    }
}
