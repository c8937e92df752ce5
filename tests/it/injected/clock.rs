//! A wall clock that jumps forward and back while the agent runs. The agent gets its time from libfaketime.

use std::path::PathBuf;
use std::process::Command;

use crate::support::line::{Line, report};
use crate::support::metrics::{get, metric};
use crate::support::wait_until;

const RETENTION_TURNS: &str = r#"certiscope_stage_turns_total{station="station1",stage="retention"}"#;

#[test]
fn a_clock_that_steps_changes_no_verdict_and_deletes_nothing() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    line.evidence = "keep = \"all\"\nmin_free_mb = 0\ndays = 1".to_owned();
    let shown = line.path().join("clock");
    std::fs::write(&shown, "+0").unwrap();
    let mut program = Command::new(crate::support::program::path());
    program
        .env("LD_PRELOAD", libfaketime())
        .env("FAKETIME_TIMESTAMP_FILE", &shown)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let agent = line.start_as(&mut program);
    let status = line.wait_status("the agent is online", |status| status["state"] == "online");
    assert_eq!(status["clock"]["steps"], 0);
    for (steps, offset, hours) in [(1, "+30d", 30 * 24), (2, "-2h", -30 * 24 - 2)] {
        std::fs::write(&shown, offset).unwrap();
        let status = line.wait_status("the clock has stepped", |status| status["clock"]["steps"] == steps);
        let stepped = status["clock"]["last_step_ms"].as_i64().unwrap();
        assert!((stepped - hours * 3_600_000).abs() < 60_000, "{stepped} ms for {hours} h");
        let turns = || metric(&get(port, "/metrics"), RETENTION_TURNS);
        let before = turns();
        wait_until("retention has seen the new time", || turns() >= before + 6.0); // it beats twice per check
        let verdict = line.wait_verdict("verdicts go on", |_| true);
        assert_eq!(verdict["verdict"], "normal", "{verdict}");
        let total = verdict["latency_ms"]["total"].as_f64().unwrap();
        assert!((0.0..60_000.0).contains(&total), "latency is measured on the other clock: {verdict}");
    }
    agent.stop();
    let committed = line.check_nothing_is_lost();
    let removed: u32 = line
        .database()
        .query_row("SELECT count(*) FROM inspection WHERE evidence IS NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(removed, 0, "evidence of a minute ago was taken for a month old");
    report(
        "clock +30 d, then -30 d -2 h",
        &format!("steps counted and reported, {committed} verdicts, 0 lost, nothing deleted"),
    );
}

/// The path of libfaketime. Without the library the test fails; it is never skipped.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    folders
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
        .expect("libfaketime: not installed; `make test` installs it (apt-get install faketime)")
}
