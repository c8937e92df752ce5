//! A process without file descriptors, and threads that panic.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use certiscope::testing::agent::{self, AgentError, Stop};
use certiscope::testing::capture::{CaptureError, FrameSource, SourceEvent};
use certiscope::testing::config::Config;

use crate::support::faulty::faulty;
use crate::support::line::{Line, report};
use crate::support::station_config::StationConfig;

#[test]
fn out_of_file_descriptors_nothing_is_normal_and_nothing_is_lost() {
    let line = Line::new();
    let agent = line.start();
    let limit = |files: &str| {
        let mut set = Command::new("prlimit");
        set.arg(format!("--pid={}", agent.pid())).arg(format!("--nofile={files}"));
        assert!(set.status().expect("prlimit is installed").success());
    };
    limit("3:4096");
    let starved = Instant::now();
    line.wait_verdict("no picture can be opened", |verdict| verdict["reason"] == "bad_frame");
    let seen = starved.elapsed();
    let before = line.verdicts_heard();
    let status = line.wait_status("evidence fails", |status| status["evidence"]["state"] == "failing");
    assert!(status["evidence"]["reason"].as_str().unwrap().contains("Too many open files"), "{status}");
    line.no_normal_since(before);
    limit("1024:4096");
    let freed = Instant::now();
    line.wait_verdict("pictures are read again", |verdict| verdict["verdict"] == "normal");
    let recovered = freed.elapsed();
    line.wait_status("evidence is kept again", |status| status["evidence"]["state"] == "ok");
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "no file descriptors",
        &format!(
            "abstain bad_frame after {seen:.1?}, normal after {recovered:.1?}, {committed} verdicts, 0 lost"
        ),
    );
}

struct Panics;

impl FrameSource for Panics {
    fn next(&mut self, _: Duration) -> Result<SourceEvent, CaptureError> {
        panic!("the lens fell off")
    }

    fn describe(&self) -> String {
        "a source that panics".to_owned()
    }
}

/// A station on a source whose thread panics, in this process.
fn run_and_panic(state: &Path) -> Result<agent::Summary, AgentError> {
    let station =
        StationConfig { state: state.to_owned(), ..StationConfig::new(&faulty(), 1, "kind = \"simulator\"") };
    let config = Config::parse(&station.text(), Path::new("station.toml")).unwrap();
    agent::run_on(&config, Box::new(Panics), &Stop::default(), |_| {})
}

#[test]
fn a_thread_that_panics_ends_the_agent_with_its_name() {
    let state = tempfile::tempdir().unwrap();
    let Err(AgentError::Stopped(error)) = run_and_panic(state.path()) else { panic!("went on") };
    assert!(format!("{error:#}").contains("thread capture: panicked"), "{error:#}");
}

/// Panics with the program's panic hook. The test below runs this as a separate process.
#[test]
#[ignore = "ends its process"]
fn child_whose_thread_panics() {
    certiscope::testing::cli::end_on_panic();
    let state = std::env::var_os("CERTISCOPE_TEST_STATE").expect("given by the parent");
    let _ = run_and_panic(Path::new(&state));
}

#[test]
fn a_panic_ends_the_program_at_once_with_a_logged_reason() {
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "injected::process::child_whose_thread_panics"])
        .env("CERTISCOPE_TEST_STATE", state.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    const SIGABRT: i32 = 6;
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("the lens fell off") && said.contains("capture"), "{said}");
    report("panic in a thread", "logged with the thread's name, SIGABRT");
}
