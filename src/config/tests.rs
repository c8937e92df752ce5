//! Tests of the configuration: mistakes that a person may make, and the problem that is reported for each.

use super::*;
use crate::capture::camera::{CameraSettings, FrameLimits, PixelFormat};
use crate::capture::trigger::Trigger;
use crate::diffusion::onnx::{OnUnavailable, Provider};
use crate::publish::Protocol;

/// The shortest configuration that is accepted.
const LEAST: &str = r#"
[store]
folder = "state"

[broker]
host = "broker.line"

[[station]]
name = "st1"
bundle = "bundles/tile"

[station.source]
kind = "folder"
path = "pictures"

[station.smoothing]
target_radius = 0.015
"#;

/// [`LEAST`] with some of its text replaced.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(LEAST.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    })
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/certiscope/station.toml"))
}

/// Refused with exactly these problems; each contains all of its words.
fn refused(changes: &[(&str, &str)], problems: &[&[&str]]) {
    let text = with(changes);
    let error = parse(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    assert_eq!(error.problems.len(), problems.len(), "{error}");
    let whole = error.to_string();
    assert!(whole.starts_with("/etc/certiscope/station.toml: "), "{whole}");
    for words in problems {
        let has_them = |problem: &String| words.iter().all(|words| problem.contains(words));
        assert!(error.problems.iter().any(has_them), "no {words:?} in {error}");
    }
}

#[test]
fn the_least_gets_defaults_and_paths_beside_the_file() {
    let Config { state_folder, station, onnxruntime_library, keep, limits, metrics_listen, .. } =
        parse(LEAST).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(state_folder, Path::new("/etc/certiscope/state"));
    assert_eq!(station.bundle, Path::new("/etc/certiscope/bundles/tile"));
    assert_eq!(onnxruntime_library, None);
    assert_eq!((keep, metrics_listen), (Keep::OneInN(NonZeroU32::new(100).unwrap()), None));
    assert_eq!((limits.rows.days, limits.evidence.days), (365, 90));
    let smoothing = &station.smoothing;
    assert_eq!((smoothing.rule.alpha, smoothing.required_radius), (0.001, 0.015));
    assert_eq!((smoothing.rule.max_draws, smoothing.batch.get()), (200, 8));
    assert_eq!(smoothing.deadline_ms, None);
    assert_eq!(station.source.delivery, QueuePolicy::Every, "a folder waits");
    assert_eq!(
        (station.session.provider, station.session.on_unavailable),
        (Provider::Cpu, OnUnavailable::Refuse)
    );
    assert_eq!((station.broker.port, station.broker.client_id.as_str()), (1883, "st17c570516c23a"));
    assert_eq!((station.broker.protocol, station.broker.backlog_per_second), (Protocol::V5, 50));
    assert_eq!(station.topics.root(), "certiscope/certiscope/certiscope/st1");
    let simulated = with(&[("kind = \"folder\"\npath = \"pictures\"", "kind = \"simulator\"")]);
    let simulated = parse(&simulated).expect("a simulator needs nothing else");
    assert_eq!(simulated.station.source.delivery, QueuePolicy::Latest, "a belt does not wait");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name_or_the_names_there_are() {
    for (section, typed, hint) in [
        ("folder = \"state\"", "foldr = \"x\"", "store.foldr: unknown key; did you mean `folder`?"),
        ("host = \"broker.line\"", "prot = 1", "broker.prot: unknown key; did you mean `port`?"),
        ("name = \"st1\"", "reciep = \"a\"", "station.reciep: unknown key; did you mean `recipe`?"),
        ("path = \"pictures\"", "seed = 1", "station.source.seed: unknown key"),
        ("target_radius = 0.015", "traget_radius = 1", "did you mean `target_radius`?"),
        ("[broker]", "[borker]\n[broker]", "borker: unknown key; did you mean `broker`?"),
        ("[station.source]", "[station.modle]\n[station.source]", "did you mean `model`?"),
        ("target_radius = 0.015", "q = 1", "allowed here: alpha, target_radius,"),
    ] {
        let both = if typed.starts_with('[') { typed.to_owned() } else { format!("{section}\n{typed}") };
        refused(&[(section, &both)], &[&[hint]]);
    }
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    for (from, to, words) in [
        ("0.015", "-0.1", "station.smoothing.target_radius = -0.1: not a radius"),
        ("0.015", "inf", "target_radius = inf: not a radius"),
        ("0.015", "nan", "target_radius = NaN: not a radius"),
        ("0.015", "\"wide\"", "station.smoothing.target_radius = \"wide\": invalid type"),
        ("0.015", "0.015\nalpha = 0.5", "alpha = 0.5: not a failure probability"),
        ("0.015", "0.015\nalpha = 0.0", "above 0 and below 0.5 is allowed"),
        ("0.015", "0.015\ndeadline_ms = 0", "deadline_ms = 0: leaves no time for a draw"),
        ("0.015", "0.015\nmax_draws = 0", "max_draws = 0: "),
        ("0.015", "0.015\nprior = [[0.5, 1.0, 1.0]]", "weights sum to 0.5"),
        ("\"pictures\"", "\"pictures\"\nframes_per_second = 0.0", "frames_per_second = 0: not a rate"),
        ("\"pictures\"", "\"pictures\"\ndelivery = \"never\"", "expected `every` or `latest`"),
        ("kind = \"folder\"", "kind = \"scanner\"", "expected one of `folder`, `simulator`, `camera`"),
        ("\"broker.line\"", "\"broker.line\"\nport = 70000", "broker.port = 70000: "),
        ("\"broker.line\"", "\"broker.line\"\nkeep_alive_secs = 1", "5 to 600 are allowed"),
        (
            "[station.source]",
            "[station.model]\nthreads = 0\n[station.source]",
            "station.model.threads = 0: 1 to 256",
        ),
        (
            "[station.source]",
            "[station.model]\nprovider = \"tpu\"\n[station.source]",
            "`cpu`, `cuda`, `tensorrt`",
        ),
        (
            "[station.source]",
            "[station.model]\ncall_limit_ms = 0\n[station.source]",
            "station.model.call_limit_ms = 0: 100 to 600000 are allowed",
        ),
        ("[broker]", "[evidence]\nkeep = \"some\"\n[broker]", "expected one of `flagged`, `all`, `one_in_n`"),
        ("[broker]", "[evidence]\nn = 0\n[broker]", "evidence.n = 0: "),
        ("\"state\"", "\"state\"\ndays = -1", "store.days = -1: "),
        (
            "[broker]",
            "[metrics]\nlisten = \"0.0.0.0:9464\"\n[broker]",
            "metrics.listen = 0.0.0.0:9464: can be reached",
        ),
        ("[broker]", "[metrics]\nlisten = \"9464\"\n[broker]", "metrics.listen = \"9464\": "),
        ("st1", "line 1/st1", "station = \"line 1/st1\": cannot be a topic level; letters, digits"),
        ("[broker]", "[topics]\nsite = \"+\"\n[broker]", "site = \"+\": cannot be a topic level"),
    ] {
        refused(&[(from, to)], &[&[words]]);
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for (from, to, words) in [
        (
            "0.015",
            "0.015\nrequired_radius = 0.02",
            ["required_radius = 0.02: larger than target_radius = 0.015", "at most target_radius is allowed"],
        ),
        (
            "0.015",
            "0.015\nmax_draws = 4",
            ["batch = 8: larger than max_draws = 4", "at most max_draws is allowed"],
        ),
        (
            "[broker]",
            "[evidence]\nkeep = \"all\"\nn = 10\n[broker]",
            ["evidence.n: belongs to keep = \"one_in_n\"", "leave it out"],
        ),
        (
            "\"broker.line\"",
            "\"broker.line\"\nbacklog_per_second = 0",
            ["broker.backlog_per_second = 0: ", "1 to 10000 are allowed"],
        ),
        (
            "\"broker.line\"",
            "\"broker.line\"\nprotocol = \"3.1\"",
            ["broker.protocol = \"3.1\": unknown variant `3.1`", "expected `3.1.1` or `5`"],
        ),
        (
            "\"broker.line\"",
            "\"broker.line\"\nusername = \"st1\"",
            ["username and password_file belong together", "give both or neither"],
        ),
        (
            "\"broker.line\"",
            "\"broker.line\"\nusername = \"st1\"\npassword_file = \"nowhere\"",
            ["broker.password_file = /etc/certiscope/nowhere: cannot be read", "its one line"],
        ),
    ] {
        refused(&[(from, to)], &[&words]);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    refused(
        &[
            ("folder = \"state\"", "foldr = \"state\""),
            ("host = \"broker.line\"", "username = \"st1\""),
            ("st1\"\nbundle = \"bundles/tile", "st 1"),
            ("path = \"pictures\"", "frames_per_second = -1.0"),
            ("target_radius = 0.015", "alpha = 2.0\nbatch = 300\nreqired_radius = 0.1"),
        ],
        &[
            &["store.folder: missing", "there is no safe default"],
            &["store.foldr: unknown key; did you mean `folder`?"],
            &["broker.host: missing", "the MQTT broker's name or address"],
            &["username and password_file belong together"],
            &["station = \"st 1\": cannot be a topic level"],
            &["station.bundle: missing"],
            &["station.source.path: missing", "a folder of pictures"],
            &["station.source.frames_per_second = -1: not a rate"],
            &["station.smoothing.target_radius: missing", "half the bundle's sigma"],
            &["station.smoothing.alpha = 2: "],
            &["station.smoothing.batch = 300: larger than max_draws = 200"],
            &["station.smoothing.reqired_radius: unknown key; did you mean `required_radius`?"],
        ],
    );
}

#[test]
fn frames_are_taken_freely_by_the_clock_or_when_the_line_asks() {
    let source = |keys: &str| {
        let text = with(&[("path = \"pictures\"", &format!("path = \"pictures\"\n{keys}"))]);
        let source = parse(&text).unwrap_or_else(|error| panic!("{error}")).station.source;
        (source.trigger, source.delivery)
    };
    let ms = Duration::from_millis;
    assert_eq!(source(""), (Trigger::Free, QueuePolicy::Every));
    assert_eq!(source("trigger = \"interval\"\ninterval_ms = 250").0, Trigger::Interval(ms(250)));
    let asked = |limit| (Trigger::Triggered { limit: ms(limit) }, QueuePolicy::Every);
    assert_eq!(source("trigger = \"triggered\""), asked(1000));
    assert_eq!(source("trigger = \"triggered\"\ntrigger_limit_ms = 80"), asked(80));
    let belt =
        with(&[("kind = \"folder\"\npath = \"pictures\"", "kind = \"simulator\"\ntrigger = \"triggered\"")]);
    let belt = parse(&belt).unwrap_or_else(|error| panic!("{error}")).station.source;
    assert_eq!(belt.delivery, QueuePolicy::Every, "no newer frame replaces one that the line asked for");

    for (keys, problem) in [
        ("trigger = \"now\"", &["station.source.trigger", "`free`, `interval`, `triggered`"][..]),
        ("trigger = \"interval\"", &["station.source.interval_ms: missing"]),
        ("trigger = \"interval\"\ninterval_ms = 0", &["interval_ms = 0", "1 to 86400000"]),
        ("interval_ms = 5", &["interval_ms: belongs to trigger = \"interval\""]),
        ("trigger_limit_ms = 5", &["trigger_limit_ms: belongs to trigger = \"triggered\""]),
        ("trigger = \"triggered\"\ntrigger_limit_ms = 0", &["trigger_limit_ms = 0", "1 to 86400000"]),
        (
            "trigger = \"triggered\"\ndelivery = \"latest\"",
            &["delivery = \"latest\"", "\"every\" is allowed"],
        ),
    ] {
        refused(&[("path = \"pictures\"", &format!("path = \"pictures\"\n{keys}"))], &[problem]);
    }
}

#[test]
fn exactly_one_station_is_run() {
    let (without, _) = LEAST.split_once("[[station]]").expect("there is a station");
    let error = parse(without).err().expect("no station");
    assert!(error.problems.iter().any(|p| p.starts_with("[[station]]: 0 of them")), "{error}");
    let (_, station) = LEAST.split_at(without.len());
    refused(
        &[("target_radius = 0.015", &format!("target_radius = 0.015\n{}", station.replace("st1", "st2")))],
        &[&["[[station]]: 2 of them", "exactly 1 is allowed"]],
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_refused_with_its_place() {
    let error = parse("[store\nfolder = 1").err().expect("no TOML").to_string();
    assert!(error.contains("1 problem\n") && error.contains("line 1"), "{error}");
    let error = Config::read(Path::new("/nowhere/station.toml")).err().expect("no file").to_string();
    assert!(error.contains("cannot be read") && error.contains("config/folder.toml"), "{error}");
}

#[test]
fn a_password_is_the_one_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "correct horse\r\n").unwrap();
    let text = with(&[("host", "username = \"st1\"\npassword_file = \"password\"\nhost")]);
    let config = Config::parse(&text, &folder.path().join("station.toml")).expect("accepted");
    let credentials = config.station.broker.credentials.expect("both were given");
    assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("st1", "correct horse"));
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

#[test]
fn the_shipped_configurations_are_accepted() {
    for name in ["camera.toml", "demo.toml", "folder.toml", "simulator.toml"] {
        parse(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// The keys in the comments of the examples exist, and their values are allowed.
#[test]
fn the_commented_keys_of_the_examples_are_accepted_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "x").unwrap();
    let is_toml = |line: &str| {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        line.starts_with('[') || rest.starts_with("= ") && !key.is_empty()
    };
    let uncommented = |line: &str| line.strip_prefix("# ").filter(|line| is_toml(line)).map(str::to_owned);
    let whole = |name: &str| {
        let text: Vec<String> =
            shipped(name).lines().map(|line| uncommented(line).unwrap_or(line.to_owned())).collect();
        let text = text.join("\n").replace("/etc/certiscope/broker-password", "password");
        // Each of these belongs to another trigger.
        let text =
            text.replace("trigger_limit_ms = ", "# ").replace("trigger = \"free\"", "trigger = \"interval\"");
        Config::parse(&text, &folder.path().join(name)).unwrap_or_else(|error| panic!("{error}"))
    };
    let config = whole("folder.toml");
    let station = config.station;
    assert!(config.onnxruntime_library.is_some() && station.recipe.is_some() && station.region.is_some());
    assert!(station.broker.credentials.is_some() && station.smoothing.deadline_ms.is_some());
    let station = whole("camera.toml").station;
    let SourceKind::Camera(camera) = station.source.kind else { panic!("no camera") };
    assert!(station.region.is_some() && camera.controls.contains_key("auto_exposure"));
}

/// [`LEAST`] with a camera instead of the folder, and these lines in its table.
fn camera(lines: &str) -> [(&'static str, String); 1] {
    const FOLDER: &str = "kind = \"folder\"\npath = \"pictures\"";
    [(FOLDER, format!("kind = \"camera\"\n{lines}"))]
}

const CAMERA: &str = "device = \"/dev/v4l/by-id/usb-x\"\nwidth_px = 640\nheight_px = 480\n";

#[test]
fn a_camera_needs_a_name_and_a_size_and_has_defaults_for_the_rest() {
    let [(from, to)] = camera(CAMERA);
    let station = parse(&with(&[(from, &to)])).unwrap_or_else(|error| panic!("{error}")).station;
    assert_eq!(station.source.delivery, QueuePolicy::Latest);
    let SourceKind::Camera(settings) = station.source.kind else { panic!("no camera") };
    let plain = CameraSettings::of("/dev/v4l/by-id/usb-x".into());
    assert_eq!(settings, CameraSettings { size: Some((640, 480)), ..plain });

    let [(from, to)] = camera("");
    refused(&[(from, &to)], &[&["source.device: missing"], &["width_px: missing"], &["height_px: missing"]]);
}

#[test]
fn the_settings_of_a_camera_are_those_that_were_typed() {
    let lines = "frames_per_second = 29.97\nformat = [\"YUYV\", \"MJPG\"]\nfrozen_after = 0\n\
        dark_below = 2.5\nsaturated_above = 1\n[station.source.controls]\ngain = 3\nhflip = true";
    let [(from, to)] = camera(&format!("{CAMERA}{lines}"));
    let station = parse(&with(&[(from, &to)])).unwrap_or_else(|error| panic!("{error}")).station;
    let SourceKind::Camera(settings) = station.source.kind else { panic!("no camera") };
    assert_eq!(
        (settings.frames_per_second, settings.formats),
        (Some(29.97), vec![PixelFormat::Yuyv, PixelFormat::Mjpg])
    );
    assert_eq!(settings.limits, FrameLimits { frozen_after: 0, dark_below: 2.5, saturated_above: 1.0 });
    assert_eq!(settings.controls, [("gain".to_owned(), 3), ("hflip".to_owned(), 1)].into());
}

#[test]
fn a_cameras_values_are_refused_by_their_names() {
    for (lines, words) in [
        (
            "delivery = \"every\"",
            ["source.delivery = \"every\": a camera does not wait", "\"latest\" is allowed"],
        ),
        ("frames_per_second = 0", ["frames_per_second = 0: not a rate", "0.001 to 1000"]),
        ("format = []", ["format = []: names no format", "leave it out"]),
        ("format = [\"H264\"]", ["format = [\"H264\"]: unknown variant `H264`", "`MJPG`"]),
        ("dark_below = 256", ["dark_below = 256: out of range", "0 to 255 is allowed"]),
        ("saturated_above = -0.5", ["saturated_above = -0.5: out of range", "0 to 1 is allowed"]),
        ("frozen_after = -1", ["frozen_after = -1: invalid value", "expected u32"]),
        (
            "controls = { gain = \"much\" }",
            ["controls.gain = \"much\": not a control's value", "whole number"],
        ),
        ("frozen_aftr = 3", ["frozen_aftr: unknown key", "did you mean `frozen_after`?"]),
    ] {
        let [(from, to)] = camera(&format!("{CAMERA}{lines}"));
        refused(&[(from, &to)], &[&words]);
    }
    let [(from, to)] = camera("device = \"video0\"\nwidth_px = 0\nheight_px = 20000");
    let problems: [&[&str]; 3] = [
        &["device = video0: not an absolute path", "/dev/v4l/by-id"],
        &["width_px = 0: ", "8 to 16384"],
        &["height_px = 20000: ", "8 to 16384"],
    ];
    refused(&[(from, &to)], &problems);
}
