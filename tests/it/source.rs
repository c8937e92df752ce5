//! Tests of a source in trouble: what the status says, and that no verdict is given.

use std::time::{Duration, Instant};

use certiscope::testing::capture::{CameraInfo, Drops, Trouble, TroubleKind};
use serde_json::{Value, json};

use crate::delivery::kept;
use crate::support::line::Line;
use crate::support::metrics::{get, metric};
use crate::support::schemas::STATUS_SCHEMA;
use crate::support::scripted::{Now, Script};
use crate::support::subscriber::schema;

const TROUBLES: [(TroubleKind, &str); 7] = [
    (TroubleKind::Lost, "lost"),
    (TroubleKind::Stalled, "stalled"),
    (TroubleKind::Frozen, "frozen"),
    (TroubleKind::Dark, "dark"),
    (TroubleKind::Saturated, "saturated"),
    (TroubleKind::Broken, "broken"),
    (TroubleKind::Refused, "refused"),
];

fn camera(controls_drifted: &[&str]) -> CameraInfo {
    CameraInfo {
        device: "/dev/v4l/by-id/usb-test".to_owned(),
        path: "/dev/video3".to_owned(),
        driver: "scripted".to_owned(),
        format: "MJPG".to_owned(),
        width: 16,
        height: 16,
        frames_per_second: 29.97,
        controls_drifted: controls_drifted.iter().map(|&control| control.to_owned()).collect(),
    }
}

/// The source in the retained status, as a client that subscribes later gets it.
fn kept_source(line: &Line, wanted: impl Fn(&Value) -> bool) -> Value {
    let status = kept(&line.broker, "status", |status| wanted(&status["source"]));
    schema(STATUS_SCHEMA).validate(&status).unwrap_or_else(|error| panic!("{error} in {status}"));
    status
}

#[test]
fn every_trouble_is_kept_on_status_until_it_is_over_and_gives_no_verdict() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut line = Line::new();
    line.rest = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"");
    let script = Script::new(Now::Frames);
    let agent = script.run(&line);
    line.wait_status("some verdicts", |status| status["verdicts"]["normal"].as_u64() > Some(2));
    let begun = Instant::now();
    for (kind, word) in TROUBLES {
        let reason = format!("it is {word}: look at it");
        script.set(Now::Trouble(Trouble { kind, reason: reason.clone() }));
        let status = kept_source(&line, |source| source["state"] == word);
        assert_eq!(status["source"]["reason"], json!(reason));
        assert!(status["source"]["camera"].is_null());
        let last_frame = status["source"]["last_frame_at"].as_str().unwrap();
        let in_state = format!("certiscope_source_state{{station=\"station1\",state=\"{word}\"}}");
        assert_eq!(metric(&get(port, "/metrics"), &in_state), 1.0);
        // As long as many frames, because verdicts on frames captured before may still come.
        std::thread::sleep(Duration::from_millis(300));
        for heard in line.reader.heard("verdict") {
            let captured = heard.message["captured_at"].as_str().unwrap();
            assert!(captured <= last_frame, "a verdict of {captured} while the source is {word}");
        }
        script.set(Now::Frames);
        let status = kept_source(&line, |source| source["state"] == "ok");
        assert_eq!(status["source"]["reason"], Value::Null);
    }
    // Each change is reported at once; a change that only affects counters is reported every ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?} for fourteen changes", begun.elapsed());
    agent.stop();
    line.check_nothing_is_lost();
}

#[test]
fn what_the_camera_is_and_loses_is_on_status() {
    let line = Line::new();
    let script = Script::new(Now::Frames);
    let agent = script.run(&line);
    kept_source(&line, |source| source["camera"].is_null());
    script.set_camera(camera(&[]), Drops { driver: 3, broken: 2, stale: 1 });
    let status = kept_source(&line, |source| source["camera"]["format"] == "MJPG");
    assert_eq!(
        status["source"]["camera"],
        json!({
            "device": "/dev/v4l/by-id/usb-test", "path": "/dev/video3", "driver": "scripted", "format": "MJPG",
            "width_px": 16, "height_px": 16, "frames_per_second": 29.97, "controls_drifted": [],
        })
    );
    let drops = &status["drops"];
    assert_eq!((&drops["driver"], &drops["broken"], &drops["stale"]), (&json!(3), &json!(2), &json!(1)));
    let drifted = "exposure_time_absolute is 90, not 120";
    script.set_camera(camera(&[drifted]), Drops::default());
    let there = kept_source(&line, |source| source["camera"]["controls_drifted"] == json!([drifted]));
    // The description of a camera is kept while it is away, because a person needs it to find the camera again.
    let reason = "camera: unplugged".to_owned();
    script.set(Now::Trouble(Trouble { kind: TroubleKind::Lost, reason }));
    let lost = kept_source(&line, |source| source["state"] == "lost");
    assert_eq!(lost["source"]["camera"], there["source"]["camera"]);
    agent.stop();
}
