//! An ordered stop ends, whatever hangs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::line::{Line, report};

/// The units give a stop 45 s before they kill (TimeoutStopSec).
const LIMIT: Duration = Duration::from_secs(45);

#[test]
fn a_stop_while_a_write_hangs_ends_in_time_and_says_what_is_lost() {
    let line = Line::new();
    let (library, hang) = (line.path().join("hang.so"), line.path().join("hang"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hang.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(made.expect("a C compiler: SQLite was built by it").success());
    let mut command = Command::new(crate::support::program::path());
    command.env("LD_PRELOAD", &library).env("CERTISCOPE_TEST_HANG", &hang);
    let agent = line.start_as(&mut command);

    std::fs::write(&hang, []).unwrap();
    line.wait_status("the store is stuck", |status| status["store"]["state"] == "stuck");
    let asked = Instant::now();
    agent.signal("TERM");
    let (status, said) = agent.end_within(LIMIT);
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("a write has not returned for 15 s after the stop"), "{said}");
    std::fs::remove_file(&hang).unwrap();

    // What was committed before is sent by the next start.
    line.start().stop();
    let committed = line.check_nothing_is_lost();
    report(
        "stop while a write hangs",
        &format!("ends after {took:.1?}, exit 1, {committed} verdicts, 0 lost"),
    );
}
