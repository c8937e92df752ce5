//! A faulty model: the result of the picture that it fails on, and of the next picture.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::faulty::{Part, faulty};
use crate::support::program::{certiscope, run};

/// Runs `inspect` on these parts, with one model call for each, and returns its results.
fn inspect(parts: &[Part]) -> Vec<Value> {
    let folder = TempDir::new().unwrap();
    let pictures = parts.iter().enumerate().map(|(at, part)| part.write(folder.path(), &format!("{at}.png")));
    let ran = run(certiscope("inspect")
        .args(["--json", "--batch", "32", "--bundle"])
        .arg(faulty())
        .arg("--heat-maps")
        .arg(folder.path())
        .args(pictures));
    ran.succeeded().json().as_array().unwrap().clone()
}

#[test]
fn a_model_that_goes_wrong_abstains_on_that_picture_only() {
    let results = inspect(&[Part::Normal, Part::NotANumber, Part::Error, Part::Defect, Part::Normal]);
    let verdicts: Vec<_> = results.iter().map(|result| result["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["normal", "abstain", "abstain", "anomalous", "normal"]);
    for (result, fault) in [(&results[1], "not numbers"), (&results[2], "out of data bounds")] {
        assert_eq!((&result["reason"], &result["radius"]), (&"model_fault".into(), &Value::Null), "{result}");
        assert!(result["fault"].as_str().unwrap().contains(fault), "{result}");
    }
    for certified in [0, 3, 4] {
        assert!(results[certified]["radius"].as_f64().unwrap() >= 0.02, "{}", results[certified]);
    }
}

#[test]
fn a_slow_model_gives_right_results_late() {
    let [normal, slow] = inspect(&[Part::Normal, Part::Slow]).try_into().unwrap();
    assert_eq!((&normal["verdict"], &slow["verdict"]), (&"normal".into(), &"normal".into()));
    let ms = |result: &Value| result["infer_ms"].as_f64().unwrap();
    assert!(ms(&slow) > 300.0 && ms(&slow) > 10.0 * ms(&normal), "{} and {} ms", ms(&slow), ms(&normal));
}

/// Shows that the model of the fixture really hangs; `inspect` itself has no limit for a call.
#[test]
fn a_call_that_hangs_gives_no_result() {
    let folder = TempDir::new().unwrap();
    let mut program = Command::new(crate::support::program::path())
        .args(["inspect", "--bundle"])
        .arg(faulty())
        .arg("--heat-maps")
        .arg(folder.path())
        .args([Part::Normal.write(folder.path(), "one.png"), Part::Hang.write(folder.path(), "two.png")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let (said, results) = channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines() {
            let _ = said.send(line.unwrap());
        }
    });
    let next = |limit| loop {
        match results.recv_timeout(limit) {
            Ok(line) if line.contains(".png: ") => break Ok(line),
            Ok(_) => {}
            Err(reason) => break Err(reason),
        }
    };
    let first = next(Duration::from_secs(30)).unwrap();
    let second = next(Duration::from_secs(1));
    program.kill().unwrap();
    program.wait().unwrap();
    reader.join().unwrap();
    assert!(first.contains("one.png: normal"), "{first}");
    assert_eq!(second, Err(RecvTimeoutError::Timeout));
}
