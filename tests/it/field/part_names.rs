//! Names of parts as scanners and PLCs send them: what identifies the part is kept, what was left out is told.

use serde_json::{Value, json};

use crate::support::line::Line;
use crate::support::schemas::TRIGGER_ACK_SCHEMA;
use crate::support::subscriber::schema;
use crate::support::wait_until;

const TRIGGER: &str = "certiscope/certiscope/certiscope/station1/cmd/trigger";

#[test]
fn names_of_scanners_are_kept_or_refused_with_the_reason() {
    for protocol in ["5", "3.1.1"] {
        let mut line = Line::new();
        line.source = "trigger = \"triggered\"".to_owned();
        line.rest = format!("protocol = \"{protocol}\"");
        let agent = line.start_idle();
        let gs1 = "]d2010401234567890117\u{1d}21ABC";
        let mut inspected = Vec::new();
        let long = format!("{{\"part_id\":\"{}\"}}", "x".repeat(129));
        for (count, (sent, ack, name, told)) in (1..).zip([
            // Control characters in a string, which JSON forbids and PLCs send.
            ("{\"part_id\":\"A 1\r\"}", "accepted", json!("A 1"), Some("carriage return")),
            ("{\"part_id\":\"A 2\\r\\n\"}", "accepted", json!("A 2"), Some("line feed")),
            ("{\"part_id\":\"\t A 3  \"}", "accepted", json!("A 3"), Some("tab and blank")),
            ("{\"part_id\":\"A 4\0\0\0\"}", "accepted", json!("A 4"), Some("NUL")),
            ("\u{feff}{\"part_id\":\"A 5\"}\r\n\0", "accepted", json!("A 5"), None),
            ("{\"part_id\":\"]d2010401234567890117\x1d21ABC\"}", "accepted", json!(gs1), None),
            ("{\"part_id\":\"]d2010401234567890117\\u001d21ABC\"}", "accepted", json!(gs1), None),
            ("{\"part_id\":\"\"}", "accepted", Value::Null, Some("part_id: it is empty")),
            ("{\"part_id\":\"A\0B\"}", "refused", Value::Null, Some("U+0000 as character 2")),
            ("{\"part_id\":\"A\x1b[2J\"}", "refused", Value::Null, Some("U+001B as character 2")),
            (&long, "refused", Value::Null, Some("129 characters; at most 128")),
        ]) {
            line.reader.say(TRIGGER, false, sent);
            wait_until(&format!("{sent:?} is answered"), || line.reader.heard("ack").len() == count);
            let answer = line.reader.heard("ack").pop().unwrap().message;
            schema(TRIGGER_ACK_SCHEMA).validate(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
            assert_eq!((&answer["ack"], &answer["part_id"]), (&json!(ack), &name), "{sent:?}: {answer}");
            match told {
                Some(words) => assert!(answer["reason"].as_str().unwrap().contains(words), "{answer}"),
                None => assert_eq!(answer["reason"], Value::Null),
            }
            if ack == "accepted" {
                inspected.push(name);
                wait_until("it is inspected", || line.reader.heard("verdict").len() == inspected.len());
            }
        }
        let latin = b"{\"part_id\":\"gr\xf6sse\"}";
        line.reader.say(TRIGGER, false, latin.to_vec());
        line.reader.wait_heard("ack", "what is not UTF-8 is named", |heard| {
            heard.message["reason"].as_str().is_some_and(|why| why.contains("byte 0xF6 at 15"))
        });
        let heard = line.reader.heard("verdict");
        let names: Vec<Value> = heard.iter().map(|heard| heard.message["part_id"].clone()).collect();
        assert_eq!(names, inspected);
        agent.stop();
        assert_eq!(line.check_nothing_is_lost(), inspected.len());
    }
}
