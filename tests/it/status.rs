//! What a station reports: the `status` message and the metrics agree with each other and with what happened.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use certiscope::testing::machine::clock_synchronised;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::line::Line;
use crate::support::metrics::{get, metric};
use crate::support::schemas::STATUS_SCHEMA;
use crate::support::wait_until;

#[test]
fn status_and_metrics_say_the_same() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    let agent = line.start();
    let status = line.wait_status("some verdicts", |status| status["verdicts"]["normal"].as_u64() > Some(5));
    let schema: Value = serde_json::from_str(STATUS_SCHEMA).unwrap();
    let schema = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    for stage in ["capture", "inference", "record", "store", "publish", "retention"] {
        let turns = &status["stages"][stage]["turns"];
        assert!(turns.as_u64().unwrap() > 0, "{stage}: {status}");
    }
    for (condition, state) in [("bundle", "ok"), ("source", "ok"), ("store", "ok"), ("evidence", "ok")] {
        assert_eq!(status[condition]["state"], state);
    }
    // Compared with what other programs report. The values change all the time, so they only have to be alike.
    let alike = |ours: &Value, theirs: u64| (0.5..2.0).contains(&(ours.as_f64().unwrap() / theirs as f64));
    assert!(alike(&status["disk_free_bytes"], room_on_disk(&line.state)), "{status}");
    assert!(alike(&status["memory_bytes"], memory(agent.pid())), "{status}");
    assert_eq!(status["clock_synchronised"].as_bool(), clock_synchronised());
    assert_eq!(
        status["queues"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["frames", "record", "store"]
    );
    assert_eq!(
        status["drops"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["broken", "driver", "evidence", "newer_frame", "stale"]
    );

    let answer = get(port, "/metrics");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("application/openmetrics-text"),
        "{answer}"
    );
    assert!(answer.contains("# EOF"), "{answer}");
    let normal = r#"certiscope_verdicts_total{station="station1",verdict="normal"}"#;
    assert!(metric(&answer, normal) >= status["verdicts"]["normal"].as_f64().unwrap());
    for of in ["bundle", "source", "store", "evidence"] {
        assert_eq!(metric(&answer, &format!("certiscope_ok{{station=\"station1\",of=\"{of}\"}}")), 1.0);
    }
    let turns =
        |answer: &str| metric(answer, r#"certiscope_stage_turns_total{station="station1",stage="capture"}"#);
    wait_until("the loops of the stages go on", || turns(&get(port, "/metrics")) > turns(&answer));
    assert!(get(port, "/").starts_with("HTTP/1.1 404"));
    agent.stop();
    let stopped: Value = line.wait_status("stopped", |status| status["state"] == "stopped");
    assert_eq!(stopped["outbox"]["depth"], 0);
    for heard in line.reader.heard("status") {
        let refused: Vec<String> =
            schema.iter_errors(&heard.message).map(|error| error.to_string()).collect();
        assert!(refused.is_empty(), "{refused:?} in {}", heard.message);
        for key in stopped.as_object().unwrap().keys() {
            let mut without = heard.message.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(!schema.is_valid(&without), "accepted without {key}");
        }
    }
}

/// The free space on a folder's disk as `df` reports it, in bytes.
fn room_on_disk(folder: &Path) -> u64 {
    let df = Command::new("df").args(["--output=avail", "--block-size=1"]).arg(folder).output().unwrap();
    String::from_utf8(df.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

/// The resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    4096 * pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

#[test]
fn delivery_times_agree_with_what_a_reader_measures() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    let agent = line.start();
    let known =
        |status: &Value| status["delivery"]["verdicts"].as_u64().is_some_and(|verdicts| verdicts > 20);
    let delivery = line.wait_status("how long verdicts took", known)["delivery"].clone();
    let answer = get(port, "/metrics");
    agent.stop();

    let (mut inspected, mut heard) = (Vec::new(), Vec::new());
    for verdict in line.reader.heard("verdict").iter().filter(|heard| heard.message["historical"] == false) {
        let captured_at: Timestamp = verdict.message["captured_at"].as_str().unwrap().parse().unwrap();
        let at = Timestamp::now() - SignedDuration::try_from(verdict.at.elapsed()).unwrap();
        heard.push(at.duration_since(captured_at).as_millis_f64());
        inspected.push(verdict.message["latency_ms"]["total"].as_f64().unwrap());
    }
    assert!(delivery["verdicts"].as_u64().unwrap() <= heard.len() as u64);
    let (p50, p99) = (delivery["p50_ms"].as_f64().unwrap(), delivery["p99_ms"].as_f64().unwrap());
    let (least, longest) =
        (inspected.into_iter().fold(f64::MAX, f64::min), heard.into_iter().fold(0.0, f64::max));
    // The broker may acknowledge a verdict a little after it has passed it to the reader.
    assert!(least < p50 && p50 <= p99 && p99 < longest + 500.0, "{least} < {delivery} < {longest}");
    for (quantile, ms) in [("0.5", p50), ("0.99", p99)] {
        let name = format!("certiscope_delivery_seconds{{station=\"station1\",quantile=\"{quantile}\"}}");
        let seconds = metric(&answer, &name);
        assert!(
            seconds > least / 1e3 && seconds < (longest + 500.0) / 1e3,
            "{quantile}: {seconds} s, {ms} ms"
        );
    }
}

#[test]
fn metrics_on_a_port_that_is_taken_are_refused_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut line = Line::new();
    line.rest = format!("[metrics]\nlisten = \"{}\"", taken.local_addr().unwrap());
    let (status, said) = line.spawn(&mut Command::new(crate::support::program::path())).end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("metrics.listen") && said.contains("use a free port"), "{said}");
}
