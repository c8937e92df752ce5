//! The `cmd/trigger` message, field by field, read strictly.
//!
//! Leaves out: which triggers are ignored (see `commands`).

use serde::Deserialize;

/// The most characters that the name of a part or a measurement may have.
const LONGEST_NAME: usize = 128;

/// A `cmd/trigger` message; see trigger.schema.json.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::publish) struct TriggerMessage {
    #[serde(default)]
    pub(in crate::publish) part_id: Option<String>,
    #[serde(default)]
    pub(in crate::publish) meas_id: Option<String>,
}

/// Reads a message; the error says what is allowed.
pub(in crate::publish) fn read_trigger(payload: &[u8]) -> Result<TriggerMessage, String> {
    const ALLOWED: &str = "allowed is a JSON object with part_id and meas_id, each a string or null";
    // serde would accept a list as an object.
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
            assert_eq!(read_trigger(text.as_bytes()), Ok(TriggerMessage { part_id, meas_id }), "{text}");
        }
        let longest = "ä".repeat(LONGEST_NAME);
        assert!(read_trigger(format!(r#"{{"part_id":"{longest}"}}"#).as_bytes()).is_ok());
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
            let refused = read_trigger(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why) && refused.contains("allowed"), "{text}: {refused}");
        }
        assert!(read_trigger(b"{\"part_id\":\"\xff\"}").unwrap_err().contains("allowed"), "not UTF-8");
    }
}
