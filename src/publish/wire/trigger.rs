//! The `cmd/trigger` message, field by field, read strictly.
//!
//! Guarantees: a name keeps what identifies the part, and what was left out is said (see `scanned`). The message itself may be
//! as PLCs make it of a scanner's string: with raw control characters in a string, which JSON forbids, with a byte order mark, or
//! with NUL or blanks after its end.
//! Leaves out: which triggers are ignored (see `commands`).

use std::borrow::Cow;

use serde::Deserialize;

use super::scanned::{ScannedName, scanned_name};

/// A `cmd/trigger` message; see trigger.schema.json.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentTrigger {
    #[serde(default)]
    part_id: Option<String>,
    #[serde(default)]
    meas_id: Option<String>,
}

/// What a `cmd/trigger` message asks for.
#[derive(Debug, Default, PartialEq)]
pub(in crate::publish) struct TriggerMessage {
    pub(in crate::publish) part_id: Option<String>,
    pub(in crate::publish) meas_id: Option<String>,
    /// What was left out of the names; `None` if they are as they were sent.
    pub(in crate::publish) left_out: Option<String>,
}

/// Reads a message; the error says what is allowed.
pub(in crate::publish) fn read_trigger(payload: &[u8]) -> Result<TriggerMessage, String> {
    const ALLOWED: &str = "allowed is a JSON object with part_id and meas_id, each a string or null";
    let refused = |why: String| format!("trigger: {why}; {ALLOWED}");
    let text = text(payload).map_err(refused)?;
    if text.is_empty() {
        return Err(refused("the message is empty".to_owned()));
    }
    // serde would accept a list as an object.
    if !text.starts_with('{') {
        return Err(refused("not an object".to_owned()));
    }
    let SentTrigger { part_id, meas_id } =
        serde_json::from_str(&escaped(text)).map_err(|error| refused(error.to_string()))?;
    let mut all_left_out = Vec::new();
    let mut read = |key: &str, sent: Option<String>| {
        let Some(sent) = sent else { return Ok(None) };
        let ScannedName { name, left_out } =
            scanned_name(&sent).map_err(|why| format!("trigger.{key}: {why}"))?;
        all_left_out.extend(left_out.map(|what| format!("{key}: {what}")));
        Ok::<_, String>(name)
    };
    let (part_id, meas_id) = (read("part_id", part_id)?, read("meas_id", meas_id)?);
    let left_out = (!all_left_out.is_empty()).then(|| all_left_out.join("; "));
    Ok(TriggerMessage { part_id, meas_id, left_out })
}

/// The text of a message, without what programs write before and after it.
fn text(payload: &[u8]) -> Result<&str, String> {
    if matches!(payload, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]) {
        return Err("is UTF-16; send UTF-8".to_owned());
    }
    let text = std::str::from_utf8(payload).map_err(|error| {
        let at = error.valid_up_to();
        format!("not UTF-8: the byte 0x{:02X} at {}; send UTF-8", payload[at], at + 1)
    })?;
    Ok(text
        .trim_start_matches('\u{feff}')
        .trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\0'))
}

/// The same JSON with raw control characters in its strings as escapes.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte < b' ') {
        return Cow::Borrowed(text);
    }
    let (mut escaped, mut in_string, mut after_backslash) =
        (String::with_capacity(text.len() + 16), false, false);
    for letter in text.chars() {
        if in_string && !after_backslash && letter < ' ' {
            escaped += &format!("\\u{:04x}", u32::from(letter));
            continue;
        }
        in_string ^= letter == '"' && !after_backslash;
        after_backslash = in_string && letter == '\\' && !after_backslash;
        escaped.push(letter);
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::super::scanned::LONGEST_NAME;
    use super::*;

    fn name(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn names_are_strings_null_or_left_out() {
        for (text, part_id, meas_id) in [
            (r#"{"part_id":"A 17","meas_id":"2"}"#, name("A 17"), name("2")),
            (r#" {"part_id":null,"meas_id":"größe"} "#, None, name("größe")),
            ("{}", None, None),
            ("\u{feff}{\"part_id\":\"A\"}\r\n\0\0", name("A"), None),
            ("{\r\n\t\"part_id\": \"a\\\"b\\\\\"\r\n}", name("a\"b\\"), None),
        ] {
            let wanted = TriggerMessage { part_id, meas_id, left_out: None };
            assert_eq!(read_trigger(text.as_bytes()), Ok(wanted), "{text}");
        }
        let longest = "ä".repeat(LONGEST_NAME);
        assert!(read_trigger(format!(r#"{{"part_id":"{longest}"}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn a_scanned_code_is_read_whether_its_control_characters_are_escaped_or_not() {
        for text in [
            "{\"part_id\":\"]d2010401234\\u001d21A\\r\",\"meas_id\":\"7\\u0000\"}",
            "{\"part_id\":\"]d2010401234\x1d21A\r\",\"meas_id\":\"7\0\"}",
        ] {
            let read = read_trigger(text.as_bytes()).unwrap();
            assert_eq!((read.part_id, read.meas_id), (name("]d2010401234\x1d21A"), name("7")));
            assert_eq!(
                read.left_out.as_deref(),
                Some("part_id: carriage return at its ends left out; meas_id: NUL at its ends left out")
            );
        }
        let empty = read_trigger(br#"{"part_id":""}"#).unwrap();
        assert_eq!((empty.part_id, empty.left_out.as_deref()), (None, Some("part_id: it is empty")));
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        let long = format!(r#"{{"meas_id":"{}"}}"#, "x".repeat(LONGEST_NAME + 1));
        for (text, why) in [
            ("", "the message is empty"),
            ("now", "not an object"),
            ("null", "not an object"),
            (r#"["A","1"]"#, "not an object"),
            (r#"{"part_id":17}"#, "invalid type: integer"),
            (r#"{"part_id":"A""#, "EOF"),
            (r#"{"part_id":"A"} {}"#, "trailing"),
            (r#"{"part_id":"A","part_id":"B"}"#, "duplicate field"),
            (r#"{"part":"A"}"#, "unknown field `part`"),
            (r#"{"part_id":"A\u0000B"}"#, "trigger.part_id: has the control character U+0000"),
            ("{\"part_id\":\"A\x1b[2J\"}", "trigger.part_id: has the control character U+001B"),
            ("{\"part_id\":\"A\\\n\"}", "invalid escape"),
            (r#"{"part_id":"\ud800"}"#, "surrogate"),
            (&long, "trigger.meas_id: 129 characters; at most 128"),
        ] {
            let refused = read_trigger(text.as_bytes()).unwrap_err();
            let says = refused.contains(why) || refused.contains("hex escape") && why == "surrogate";
            assert!(says && refused.contains("allowed"), "{text}: {refused}");
        }
        let latin = read_trigger(b"{\"part_id\":\"gr\xf6\xdfe\"}").unwrap_err();
        assert!(latin.contains("byte 0xF6 at 15") && latin.contains("allowed"), "{latin}");
        assert!(read_trigger(b"{\0\"\0}\0").unwrap_err().contains("UTF-16"));
        assert!(read_trigger(b"\xff\xfe{\0}\0").unwrap_err().contains("UTF-16"));
    }
}
