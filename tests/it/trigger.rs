//! Tests of triggers over a real broker: each trigger gets one answer and, if accepted, one verdict with its ids.

use std::time::Duration;

use certiscope::testing::capture::{Trouble, TroubleKind};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::faulty::Part;
use crate::support::line::Line;
use crate::support::schemas::{TRIGGER_ACK_SCHEMA, TRIGGER_SCHEMA};
use crate::support::scripted::{Now, Script};
use crate::support::subscriber::{Subscriber, schema};
use crate::support::{wait_until, wait_within};

const TRIGGER: &str = "certiscope/certiscope/certiscope/station1/cmd/trigger";

/// A station that waits for triggers.
fn triggered() -> Line {
    let mut line = Line::new();
    line.source = "trigger = \"triggered\"".to_owned();
    line
}

impl Line {
    fn ask(&self, part_id: &str, meas_id: Value) {
        let wanted = json!({"part_id": part_id, "meas_id": meas_id});
        assert!(schema(TRIGGER_SCHEMA).is_valid(&wanted), "{wanted}");
        self.reader.say(TRIGGER, false, wanted.to_string());
    }

    /// Waits until `count` answers have come in all, and returns them. Each is checked against the schema.
    fn wait_answers(&self, count: usize) -> Vec<Value> {
        wait_until("the triggers are answered", || self.reader.heard("ack").len() >= count);
        let answers = self.reader.heard("ack");
        let schema = schema(TRIGGER_ACK_SCHEMA);
        for heard in &answers {
            assert!(!heard.retained);
            if let Err(error) = schema.validate(&heard.message) {
                panic!("{error}\nin {}", heard.message);
            }
        }
        assert_eq!(answers.len(), count, "{answers:?}");
        answers.into_iter().map(|heard| heard.message).collect()
    }
}

#[test]
fn a_trigger_gives_one_answer_and_one_verdict_under_its_names() {
    for protocol in ["5", "3.1.1"] {
        let mut line = triggered();
        line.rest = format!("protocol = {protocol:?}");
        let agent = line.start_idle();
        line.ask("A 17", json!("m1"));
        let verdict = line.wait_verdict("the triggered part is inspected", |_| true);
        assert_eq!((&verdict["part_id"], &verdict["meas_id"]), (&json!("A 17"), &json!("m1")));
        assert_eq!(verdict["verdict"], "normal");
        line.reader.say(TRIGGER, false, "{}");
        let verdict = line.wait_verdict("a part without a name", |_| true);
        assert_eq!((&verdict["part_id"], &verdict["meas_id"]), (&Value::Null, &Value::Null));
        let [first, second] = line.wait_answers(2).try_into().unwrap();
        assert_eq!(
            (&first["ack"], &first["part_id"], &first["meas_id"]),
            (&json!("accepted"), &json!("A 17"), &json!("m1"))
        );
        assert_eq!(first["boot_id"], verdict["boot_id"]);
        assert_eq!((&second["ack"], &second["part_id"]), (&json!("accepted"), &Value::Null));
        let received: Timestamp = second["received_at"].as_str().unwrap().parse().unwrap();
        let captured: Timestamp = verdict["captured_at"].as_str().unwrap().parse().unwrap();
        assert!(captured >= received, "captured at {captured}, asked for at {received}");
        let status =
            line.wait_status("the answers are counted", |status| status["triggers"]["accepted"] == 2);
        assert_eq!(status["triggers"], json!({"accepted": 2, "busy": 0, "missed": 0, "refused": 0}));
        agent.stop();
        assert_eq!(line.check_nothing_is_lost(), 2);
        let newcomer = Subscriber::at(line.broker.port);
        newcomer.wait_heard("status", "what is kept comes", |_| true);
        assert!(newcomer.heard("ack").is_empty(), "an answer is kept");
    }
}

#[test]
fn while_the_model_works_triggers_are_taken_as_long_as_there_is_room() {
    let line = triggered();
    let agent = line.start_idle();
    line.show(Part::Slow);
    // One part is in the model, two wait, and one has no room yet. Each is triggered after the one before was accepted.
    for (part, taken) in [("1", 1), ("2", 2), ("3", 3)] {
        line.ask(part, meas_of(part));
        line.wait_answers(taken);
    }
    line.ask("4", meas_of("4"));
    wait_until("part 4 has no room", || {
        line.ask("5", meas_of("5"));
        std::thread::sleep(Duration::from_millis(50));
        line.reader.heard("ack").iter().any(|heard| heard.message["ack"] == "busy")
    });
    line.show(Part::Normal);
    // A slow part takes seconds, and more on a busy machine.
    wait_within(Duration::from_secs(120), "the last of them is inspected", || {
        line.reader.heard("verdict").iter().any(|heard| heard.message["part_id"] == "4")
    });
    agent.stop();
    let answers: Vec<Value> = line.reader.heard("ack").into_iter().map(|heard| heard.message).collect();
    let accepted: Vec<&str> = parts(&answers, |answer| answer["ack"] == "accepted");
    let busy: Vec<&str> = parts(&answers, |answer| answer["ack"] == "busy");
    let why = answers.iter().find(|answer| answer["ack"] == "busy").unwrap()["reason"].as_str().unwrap();
    assert!(why.contains("part 4, triggered before it"), "{why}");
    assert!(busy.iter().all(|part| *part == "5"), "{busy:?}");
    let verdicts: Vec<Value> = line.reader.heard("verdict").into_iter().map(|heard| heard.message).collect();
    assert_eq!(parts(&verdicts, |_| true), accepted, "each accepted part, in order");
    for message in answers.iter().chain(&verdicts) {
        assert_eq!(message["meas_id"], meas_of(message["part_id"].as_str().unwrap()), "{message}");
    }
    assert_eq!(line.check_nothing_is_lost(), accepted.len());
}

/// The measurement id with which a part is triggered.
fn meas_of(part: &str) -> Value {
    json!(format!("measurement of {part}"))
}

fn parts(messages: &[Value], wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
    messages
        .iter()
        .filter(|message| wanted(message))
        .map(|message| message["part_id"].as_str().unwrap())
        .collect()
}

#[test]
fn a_wrong_trigger_is_refused_and_a_retained_one_is_ignored() {
    for protocol in ["5", "3.1.1"] {
        let mut line = triggered();
        line.rest = format!("protocol = {protocol:?}");
        line.reader.say(TRIGGER, true, r#"{"part_id":"yesterday","meas_id":null}"#);
        let agent = line.start_idle();
        wait_until("the retained trigger is ignored", || agent.said().contains("retained trigger ignored"));
        let no_trigger =
            [r#"{"part_id":17}"#, "now!", r#"{"part_id":"a\nb"}"#, r#"{"part_id":null,"speed":3}"#];
        for (answers, text) in (1..).zip(no_trigger) {
            let wanted: Value = serde_json::from_str(text).unwrap_or_default();
            assert!(!schema(TRIGGER_SCHEMA).is_valid(&wanted), "{text}");
            line.reader.say(TRIGGER, false, text);
            let answer = line.wait_answers(answers).pop().unwrap();
            assert_eq!((&answer["ack"], &answer["part_id"]), (&json!("refused"), &Value::Null), "{answer}");
            assert!(answer["reason"].as_str().unwrap().contains("allowed"), "{answer}");
        }
        line.ask("today", Value::Null);
        line.wait_verdict("the true one is inspected", |verdict| verdict["part_id"] == "today");
        agent.stop();
        assert_eq!(line.check_nothing_is_lost(), 1, "something else fired");
    }
}

#[test]
fn triggers_are_heard_again_after_the_broker_was_away() {
    let mut line = triggered();
    let agent = line.start_idle();
    line.broker.kill();
    wait_until("the station sees it", || agent.said().contains("no connection"));
    line.broker.come_up();
    line.wait_status("online again", |status| status["state"] == "online");
    line.reader.wait_subscribed(2);
    wait_until("a trigger is answered", || {
        line.ask("again", Value::Null);
        std::thread::sleep(Duration::from_millis(100));
        !line.reader.heard("ack").is_empty()
    });
    wait_until("it is inspected", || {
        line.reader.heard("verdict").iter().any(|heard| heard.message["part_id"] == "again")
    });
    agent.stop();
}

#[test]
fn a_refused_subscription_is_reported_and_the_agent_goes_on() {
    for protocol in ["5", "3.1.1"] {
        let mut line = triggered();
        line.broker = Broker::that_refuses_subscription_to(TRIGGER);
        line.reader = Subscriber::at(line.broker.port);
        line.rest = format!("protocol = {protocol:?}");
        let agent = line.start_idle();
        let status = line.wait_status("what is refused", |status| {
            status["stages"]["publish"]["last_error"]
                .as_str()
                .is_some_and(|error| error.contains("cmd/trigger"))
        });
        assert_eq!(status["state"], "online", "{status}");
        agent.stop();
    }
}

#[test]
fn by_the_clock_a_frame_is_taken_each_interval_and_late_ones_are_skipped() {
    const INTERVAL_MS: i64 = 400;
    let mut line = Line::new();
    line.source = format!("trigger = \"interval\"\ninterval_ms = {INTERVAL_MS}");
    let agent = line.start();
    wait_until("some frames", || line.verdicts_heard() >= 8);
    agent.stop();
    let captured: Vec<Timestamp> = line
        .reader
        .heard("verdict")
        .iter()
        .map(|heard| heard.message["captured_at"].as_str().unwrap().parse().unwrap())
        .collect();
    let since_first = captured.iter().map(|at| at.duration_since(captured[0]).as_millis() as i64);
    // The first frame was itself a little late, by less than half an interval even on a slow machine.
    let due: Vec<i64> = since_first.map(|ms| (ms + INTERVAL_MS / 2) / INTERVAL_MS).collect();
    assert!(due.windows(2).all(|pair| pair[0] < pair[1]), "two frames in one interval: {due:?}");
    line.check_nothing_is_lost();
}

#[test]
fn a_source_without_frames_misses_the_trigger_and_says_why() {
    let mut line = triggered();
    line.source += "\ntrigger_limit_ms = 300";
    let unplugged = Trouble { kind: TroubleKind::Lost, reason: "camera: unplugged".to_owned() };
    let script = Script::new(Now::Trouble(unplugged));
    let agent = script.run(&line);
    line.wait_status("lost", |status| status["source"]["state"] == "lost");
    line.ask("A", Value::Null);
    let missed = line.wait_answers(1).pop().unwrap();
    assert_eq!((&missed["ack"], &missed["part_id"]), (&json!("missed"), &json!("A")));
    assert_eq!(missed["reason"], "no frame within 300 ms of the trigger: camera: unplugged");
    script.set(Now::Silence);
    line.ask("B", Value::Null);
    assert_eq!(line.wait_answers(2)[1]["reason"], "no frame within 300 ms of the trigger");
    script.set(Now::Frames);
    line.wait_status("ok", |status| status["source"]["state"] == "ok");
    assert_eq!(line.verdicts_heard(), 0, "nobody asked for this frame");
    line.ask("C", Value::Null);
    line.wait_verdict("C is inspected", |verdict| verdict["part_id"] == "C");
    agent.stop();
    assert_eq!(line.check_nothing_is_lost(), 1);
}

#[test]
fn a_trigger_that_waits_when_the_station_stops_is_answered() {
    let mut line = triggered();
    line.source += "\ntrigger_limit_ms = 600000";
    let agent = Script::new(Now::Silence).run(&line);
    line.wait_status("online", |status| status["state"] == "online");
    line.ask("A", Value::Null);
    wait_until("it waits", || {
        line.ask("B", Value::Null);
        std::thread::sleep(Duration::from_millis(50));
        line.reader.heard("ack").iter().any(|heard| heard.message["ack"] == "busy")
    });
    agent.stop();
    line.wait_status("stopped", |status| status["state"] == "stopped");
    let answers = line.reader.heard("ack");
    let of_a: Vec<&Value> =
        answers.iter().map(|heard| &heard.message).filter(|answer| answer["part_id"] == "A").collect();
    assert_eq!(of_a.len(), 1, "{answers:?}");
    assert_eq!((&of_a[0]["ack"], &of_a[0]["reason"]), (&json!("missed"), &json!("the station stops")));
}
