//! The commands of the line: `cmd/trigger`, read strictly.
//!
//! Guarantees: a command that the broker had kept (retained) or delivers a second time triggers nothing; what cannot be
//! understood is answered with the reason. Leaves out: who may give commands; the broker's access list decides that.

use serde::Deserialize;

use super::link::IncomingMessage;
use crate::capture::Stamp;
use crate::capture::trigger::{Answer, Answers, TriggerRequest, Triggers};

/// Characters of a part's or a measurement's name.
const LONGEST_NAME: usize = 128;

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
        let wanted = read(&message.payload);
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

/// A `cmd/trigger` message; see trigger.schema.json.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerMessage {
    #[serde(default)]
    part_id: Option<String>,
    #[serde(default)]
    meas_id: Option<String>,
}

fn read(payload: &[u8]) -> Result<TriggerMessage, String> {
    const ALLOWED: &str = "a JSON object with part_id and meas_id, each a string or null, is allowed";
    // serde would take a list for an object.
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return Err(format!("trigger: not an object; {ALLOWED}"));
    }
    let wanted: TriggerMessage =
        serde_json::from_slice(payload).map_err(|error| format!("trigger: {error}; {ALLOWED}"))?;
    for (key, name) in [("part_id", &wanted.part_id), ("meas_id", &wanted.meas_id)] {
        let Some(name) = name else { continue };
        let length = name.chars().count();
        if length > LONGEST_NAME {
            return Err(format!("trigger.{key}: {length} characters; at most {LONGEST_NAME} are allowed"));
        }
        if name.chars().any(char::is_control) {
            return Err(format!("trigger.{key}: has control characters; none are allowed"));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strings_null_or_left_out() {
        let name = |text: &str| Some(text.to_owned());
        for (text, part_id, meas_id) in [
            (r#"{"part_id":"A 17","meas_id":"2"}"#, name("A 17"), name("2")),
            (r#" {"part_id":null,"meas_id":"größe"} "#, None, name("größe")),
            ("{}", None, None),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(TriggerMessage { part_id, meas_id }), "{text}");
        }
        let longest = "ä".repeat(LONGEST_NAME);
        assert!(read(format!(r#"{{"part_id":"{longest}"}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        let long = format!(r#"{{"meas_id":"{}"}}"#, "x".repeat(LONGEST_NAME + 1));
        for (text, why) in [
            ("", "not an object"),
            ("now", "not an object"),
            ("null", "not an object"),
            (r#"["A","1"]"#, "not an object"),
            (r#"{"part_id":17}"#, "invalid type: integer"),
            (r#"{"part_id":"A""#, "EOF"),
            (r#"{"part_id":"A"} {}"#, "trailing"),
            (r#"{"part_id":"A","part_id":"B"}"#, "duplicate field"),
            (r#"{"part":"A"}"#, "unknown field `part`"),
            (r#"{"part_id":"A\u0000"}"#, "trigger.part_id: has control characters"),
            (&long, "trigger.meas_id: 129 characters; at most 128"),
        ] {
            let refused = read(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why) && refused.contains("allowed"), "{text}: {refused}");
        }
        assert!(read(b"{\"part_id\":\"\xff\"}").unwrap_err().contains("allowed"), "not UTF-8");
    }
}
