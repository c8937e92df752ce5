//! A model that hangs, fails or gives values that are not numbers; a bundle that is replaced while the agent runs.

use std::time::Instant;

use serde_json::Value;

use crate::support::bundles::contents;
use crate::support::faulty::{Part, faulty};
use crate::support::line::{Line, report};

#[test]
fn a_model_call_that_hangs_abstains_and_ends_the_agent() {
    let mut line = Line::new();
    line.model = "call_limit_ms = 1000".to_owned();
    let agent = line.start();
    let shown = Instant::now();
    line.show(Part::Hang);
    let (status, said) = agent.end();
    let ended = shown.elapsed();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("model: a call has not returned for 1 s"), "{said}");
    let verdicts = line.reader.heard("verdict");
    let last = &verdicts.last().unwrap().message;
    assert_eq!((&last["verdict"], &last["reason"]), (&"abstain".into(), &"model_fault".into()), "{last}");
    assert_eq!(last["part_id"], "part.png");
    line.check_nothing_is_lost();

    line.show(Part::Normal);
    let started = Instant::now();
    let agent = line.start();
    let again = started.elapsed();
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "model call hangs",
        &format!(
            "abstain model_fault, exit 1 after {ended:.1?} (limit 1 s), verdict {again:.1?} after the next start, {committed} verdicts, 0 lost"
        ),
    );
}

#[test]
fn a_model_that_fails_or_gives_no_numbers_abstains_until_it_does_not() {
    let line = Line::new();
    let agent = line.start();
    for (part, fault) in [(Part::NotANumber, "not numbers"), (Part::Error, "out of data bounds")] {
        line.show(part);
        let first = line.wait_verdict("the fault is seen", |verdict| verdict["reason"] == "model_fault");
        let before = line.verdicts_heard();
        line.wait_verdict("it stays", |verdict| {
            verdict["seq"].as_u64() > Some(first["seq"].as_u64().unwrap() + 5)
        });
        line.no_normal_since(before);
        let status = line.wait_status("the last error", |status| {
            status["stages"]["inference"]["last_error"].as_str().is_some_and(|error| error.contains(fault))
        });
        assert_eq!(status["store"]["state"], "ok");
        let shown = Instant::now();
        line.show(Part::Normal);
        line.wait_verdict("the model is well again", |verdict| verdict["verdict"] == "normal");
        report(
            &format!("model: {fault}"),
            &format!("abstain model_fault, normal after {:.1?}", shown.elapsed()),
        );
    }
    agent.stop();
    line.check_nothing_is_lost();
}

/// A line on a copy of the faulty bundle, which may be written to.
fn on_a_copy() -> Line {
    let mut line = Line::new();
    line.bundle = line.path().join("bundle");
    std::fs::create_dir(&line.bundle).unwrap();
    for (name, bytes) in contents(&faulty()) {
        std::fs::write(line.bundle.join(name), bytes).unwrap();
    }
    line
}

#[test]
fn a_manifest_replaced_under_the_agent_is_reported_and_not_used() {
    let line = on_a_copy();
    let agent = line.start();
    let manifest = line.bundle.join("bundle.toml");
    let loaded = std::fs::read_to_string(&manifest).unwrap();
    let sha256 = line.wait_bundle("ok")["model_sha256"].clone();
    let changed = Instant::now();
    std::fs::write(&manifest, loaded.replace("version = ", "version = 1")).unwrap();
    let status = line.wait_bundle("changed");
    let seen = changed.elapsed();
    assert!(status["bundle"]["reason"].as_str().unwrap().contains("start the agent again"), "{status}");
    assert_eq!(status["model_sha256"], sha256);
    line.wait_verdict("the loaded one goes on", |verdict| verdict["verdict"] == "normal");
    std::fs::remove_file(&manifest).unwrap();
    line.wait_bundle("unreadable");
    std::fs::write(&manifest, loaded).unwrap();
    line.wait_bundle("ok");
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "bundle.toml replaced",
        &format!("changed after {seen:.1?}, the loaded one went on, {committed} verdicts, 0 lost"),
    );
}

/// A model that is exchanged without its manifest is refused at the next start. So it is reported now.
#[test]
fn a_model_exchanged_under_the_agent_is_reported_and_not_used() {
    let line = on_a_copy();
    let agent = line.start();
    let model = line.bundle.join("model.onnx");
    let loaded = std::fs::read(&model).unwrap();
    let exchange = |bytes: &[u8]| {
        let next = line.path().join("next.onnx");
        std::fs::write(&next, bytes).unwrap();
        std::fs::rename(next, &model).unwrap();
    };
    let sha256 = line.wait_bundle("ok")["model_sha256"].clone();
    // Of the same length, so that it can be noticed only by the time of change or the content.
    let mut other = loaded.clone();
    *other.last_mut().unwrap() ^= 1;
    let exchanged = Instant::now();
    exchange(&other);
    let status = line.wait_bundle("changed");
    let seen = exchanged.elapsed();
    let reason = status["bundle"]["reason"].as_str().unwrap();
    assert!(reason.contains("model.onnx") && reason.contains("start the agent again"), "{status}");
    assert_eq!(status["model_sha256"], sha256, "what computes the verdicts is the loaded one");
    line.wait_verdict("the loaded one goes on", |verdict| verdict["verdict"] == "normal");
    // The same bytes in a new file are the same model.
    exchange(&loaded);
    line.wait_bundle("ok");
    std::fs::remove_file(&model).unwrap();
    let status = line.wait_bundle("unreadable");
    assert!(status["bundle"]["reason"].as_str().unwrap().contains("model.onnx"), "{status}");
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "model.onnx exchanged",
        &format!("changed after {seen:.1?}, the loaded one went on, {committed} verdicts, 0 lost"),
    );
}

impl Line {
    /// Waits until `status` gives this state of the bundle; returns it.
    fn wait_bundle(&self, state: &str) -> Value {
        self.wait_status(&format!("the bundle is {state}"), |status| status["bundle"]["state"] == state)
    }
}
