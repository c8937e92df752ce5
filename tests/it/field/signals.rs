//! A stop commits nothing false: signalled twice, cut short, before the first frame; and signals that were ignored stay ignored.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use certiscope::testing::stop::end_at_once;

use crate::support::faulty::Part;
use crate::support::line::{Agent, Line};
use crate::support::metrics::{get, metric};
use crate::support::program;
use crate::support::station::{Station, broker_at};
use crate::support::wait_until;

/// A second Ctrl-C that comes sooner is the first one, sent twice.
const AGAIN: Duration = Duration::from_millis(500);

/// How many inspections the log has whose model failed.
fn model_faults(line: &Line) -> u32 {
    let count = "SELECT count(*) FROM inspection WHERE reason = 'model_fault'";
    line.database().query_row(count, [], |row| row.get(0)).unwrap()
}

/// The errors of a journal, but for those that a slow machine has.
fn errors(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("ERROR") && !line.contains("watchdog: ")).collect()
}

/// Sends several signals from one shell, so that they come within a millisecond or two.
fn burst(agent: &Agent, signals: &[&str]) {
    let pid = agent.pid();
    let kills: Vec<String> = signals.iter().map(|signal| format!("kill -{signal} {pid}")).collect();
    assert!(Command::new("sh").args(["-c", &kills.join("; ")]).status().unwrap().success());
}

/// A line whose frames do not queue up, and the port of its metrics.
fn line() -> (Line, u16) {
    let mut line = Line::new();
    line.source = "delivery = \"latest\"".to_owned();
    let port = line.serve_metrics();
    (line, port)
}

/// Shows a part whose model call takes seconds or for ever, and waits until the model is at it.
fn show_long(line: &Line, port: u16, part: Part) {
    line.show(part);
    wait_until("the part is in hand", || {
        let name = r#"certiscope_stage_working_milliseconds{station="station1",stage="inference"}"#;
        metric(&get(port, "/metrics"), name) > 500.0
    });
}

#[test]
fn a_stop_that_is_sent_several_times_is_one_stop_in_order() {
    let (line, port) = line();
    for signals in [
        &["TERM", "TERM"][..],
        &["TERM", "CONT", "TERM"],
        &["INT", "INT"],
        &["HUP", "HUP"],
        &["TERM", "HUP", "INT", "INT", "TERM"],
    ] {
        let agent = line.start();
        show_long(&line, port, Part::Slow);
        burst(&agent, signals);
        let (ended, said) = agent.end_within(Duration::from_secs(60));
        assert!(ended.success(), "{signals:?}: {ended}: {said}");
        assert!(said.contains("left the broker"), "{signals:?}: {said}");
        assert_eq!(errors(&said), Vec::<&str>::new(), "{signals:?}");
        line.show(Part::Normal);
    }
    assert_eq!(model_faults(&line), 0);
    line.check_nothing_is_lost();
}

#[test]
fn ctrl_c_again_ends_at_once_and_commits_nothing() {
    let (line, port) = line();
    for _ in 0..3 {
        line.show(Part::Normal);
        let agent = line.start();
        show_long(&line, port, Part::Hang);
        agent.signal("INT");
        wait_until("it says that it stops", || agent.said().contains("stopping"));
        std::thread::sleep(AGAIN);
        agent.signal("INT");
        let (ended, said) = agent.end_within(Duration::from_secs(5));
        assert_eq!((ended.code(), ended.signal()), (Some(130), None), "{said}");
        assert_eq!(errors(&said), Vec::<&str>::new());
    }
    assert_eq!(model_faults(&line), 0);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let line = Line::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\"", program::path()]);
    let agent = line.start_as(&mut command);
    burst(&agent, &["HUP", "INT"]);
    for _ in 0..5 {
        line.wait_verdict("it goes on", |verdict| verdict["verdict"] == "normal");
    }
    assert!(!agent.said().contains("stopping"), "{}", agent.said());
    agent.stop();
}

#[test]
fn a_stop_before_the_first_frame_records_nothing_false() {
    let line = Line::new();
    const SIGTERM: u64 = 1 << 14;
    for _ in 0..5 {
        let agent = line.spawn(&mut Command::new(program::path()));
        wait_until("it handles signals", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(caught.trim(), 16).unwrap() & SIGTERM != 0
        });
        burst(&agent, &["TERM", "TERM"]);
        let (ended, said) = agent.end();
        assert!(ended.success(), "{ended}: {said}");
        assert_eq!(errors(&said), Vec::<&str>::new());
    }
    if line.state.join("certiscope.db").exists() {
        let wrong = "SELECT count(*) FROM inspection WHERE verdict != 'normal'";
        let wrong: u32 = line.database().query_row(wrong, [], |row| row.get(0)).unwrap();
        assert_eq!(wrong, 0);
        line.check_nothing_is_lost();
    }
}

/// As after Ctrl-Z, or while a virtual machine is saved: the model does not run then either.
#[test]
fn time_in_which_the_process_stands_still_is_no_fault_of_the_model() {
    let (mut line, port) = line();
    let agent = line.start();
    show_long(&line, port, Part::Slow);
    let slow = line.wait_verdict("the slow part is inspected", |verdict| {
        verdict["latency_ms"]["infer"].as_f64().is_some_and(|time| time > 300.0)
    });
    line.show(Part::Normal);
    agent.stop();
    let call_limit = 3 * slow["latency_ms"]["infer"].as_f64().unwrap() as u64 + 2000;
    line.model = format!("call_limit_ms = {call_limit}");
    let agent = line.start();
    show_long(&line, port, Part::Slow);
    line.show(Part::Normal);
    agent.signal("STOP");
    std::thread::sleep(Duration::from_millis(call_limit + 500));
    agent.signal("CONT");
    line.wait_verdict("the slow part is inspected", |verdict| {
        verdict["latency_ms"]["infer"].as_f64().is_some_and(|time| time > call_limit as f64)
    });
    agent.stop();
    assert_eq!(model_faults(&line), 0);
}

/// Commits, decides to end at once, and commits again. The test below runs this as a separate process.
#[test]
#[ignore = "ends its process"]
fn child_that_ends_at_once() {
    let folder = std::env::var_os("CERTISCOPE_TEST_STATE").expect("given by the parent");
    let mut station = Station::start(Path::new(&folder), broker_at(1, None));
    station.inspect(1);
    end_at_once();
    let (committed, commits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        station.inspect(1);
        let _ = committed.send(()); // the process has ended, if all is right
    });
    let code = if commits.recv_timeout(Duration::from_secs(2)).is_ok() { 1 } else { 0 };
    std::process::exit(code);
}

#[test]
fn nothing_is_committed_once_the_end_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "field::signals::child_that_ends_at_once"])
        .env("CERTISCOPE_TEST_STATE", folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "it commits: {ended:?}");
    let log = rusqlite::Connection::open(folder.path().join("log.sqlite")).unwrap();
    let rows: u32 = log.query_row("SELECT count(*) FROM inspection", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}
