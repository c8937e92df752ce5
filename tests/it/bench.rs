//! `certiscope bench`: the figures are there, are possible, and agree with each other. No test depends on how fast the
//! machine is.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{certiscope, run};
use crate::support::wait_until;

/// Least, median and largest value of a figure; checks that they are in this order and above 0.
fn spread(figure: &Value) -> [f64; 3] {
    let values = ["least", "median", "most"].map(|which| figure[which].as_f64().expect(which));
    assert!(0.0 < values[0] && values.is_sorted(), "{figure}");
    values
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_figures_are_possible_and_agree() {
    let scratch = TempDir::new().unwrap();
    let ran = run(certiscope("bench")
        .args(["--seconds", "2", "--batch", "4", "--threads", "1", "--json", "--scratch"])
        .arg(scratch.path()))
    .succeeded();
    let figures = ran.json();

    let (machine, model) = (&figures["machine"], &figures["model"]);
    assert!(machine["cores"].as_u64().unwrap() >= 1 && !machine["cpu"].as_str().unwrap().is_empty());
    assert_eq!((&model["bundle"], &model["provider"]), (&"demo-line@3".into(), &"cpu".into()));
    assert_eq!((&model["batch"], &model["threads"]), (&4.into(), &1.into()));

    let [rounds, normal, anomalous, abstain] = [
        &figures["rounds"],
        &figures["verdicts"]["normal"],
        &figures["verdicts"]["anomalous"],
        &figures["verdicts"]["abstain"],
    ]
    .map(|count| count.as_u64().unwrap());
    assert_eq!(rounds, 2);
    assert!(normal + anomalous + abstain >= 3 * (rounds + 1) && normal > 0, "{figures}");

    let [pipeline, bare] =
        ["pipeline", "bare"].map(|which| spread(&figures["evaluations_per_second"][which]));
    let ratio = spread(&figures["pipeline_to_bare"]);
    assert!(
        ratio[0] >= pipeline[0] / bare[2] - 1e-9 && ratio[2] <= pipeline[2] / bare[0] + 1e-9,
        "{figures}"
    );
    // The same model on the same processor: neither can be many times as fast as the other.
    assert!(ratio[1] > 0.2 && ratio[1] < 2.0, "{figures}");
    let (frames, draws) = (spread(&figures["frames_per_second"]), spread(&figures["draws_per_frame"]));
    assert!(frames[0] * draws[0] <= pipeline[1] && pipeline[1] <= frames[2] * draws[2], "{figures}");
    // The target radius needs 22 draws that agree; the rule allows 200.
    assert!(draws[0] >= 22.0 && draws[2] <= 200.0, "{figures}");

    let start = &figures["start"];
    assert!(spread(&start["first_verdict_seconds"])[0] > 0.01, "{figures}");
    assert!(start["verdicts"].as_u64().unwrap() >= 1);
    let [resident, peak] = ["resident_bytes", "peak_bytes"].map(|which| start[which].as_u64().unwrap());
    assert!(resident > 20_000_000 && peak >= resident && peak < 10_000_000_000, "{figures}");

    let commit = &figures["commit_ms"];
    assert!(commit["commits"].as_u64().unwrap() >= 1);
    for which in ["synced", "unsynced"] {
        let [p50, p99] = ["p50", "p99"].map(|share| commit[which][share].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99, "{figures}");
    }
    assert!(Path::new(commit["folder"].as_str().unwrap()).starts_with(scratch.path()));
    assert!(is_empty(scratch.path()), "something was left behind");
}

#[test]
fn a_bench_that_is_interrupted_ends_and_leaves_nothing_behind() {
    let scratch = TempDir::new().unwrap();
    let mut bench = Command::new(crate::support::program::path())
        .args(["bench", "--scratch"])
        .arg(scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the agent inspects", || {
        let made = std::fs::read_dir(scratch.path()).unwrap().next();
        made.is_some_and(|folder| folder.unwrap().path().join("state/certiscope.db").exists())
    });
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    wait_until("it has ended", || bench.try_wait().unwrap().is_some());
    let output = bench.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted; there are no figures"), "{said}");
    assert!(is_empty(scratch.path()), "something was left behind");
}

#[test]
fn a_scratch_folder_that_is_not_there_is_refused() {
    run(certiscope("bench").args(["--scratch", "nowhere/at/all"]))
        .refused("no folder", &["nowhere/at/all", "--scratch"]);
}
