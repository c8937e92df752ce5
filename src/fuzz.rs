//! The fuzz targets: what certiscope reads from outside, each with the properties that must hold whatever is read.
//!
//! Guarantees: a target reads no file and has no state that one input leaves for the next. `tests/fuzz` runs them with libFuzzer, and the
//! integration tests run them on the inputs that once failed.
//! Leaves out: code that is reached through a file only, such as the hashes of a bundle.

use std::cell::LazyCell;
use std::path::Path;
use std::sync::Arc;

use crate::bundle;
use crate::capture::decode::{DecodeLimits, decode};
use crate::capture::encode::{png, to_image};
use crate::capture::{Channels, Frame, Picture, Samples, Stamp};
use crate::cli::inspections;
use crate::computation::Computation;
use crate::config::Config;
use crate::diffusion::seed::FrameSeed;
use crate::inspection::{FrameOutcome, Inspection, Latency, Parameters};
use crate::publish;
use crate::smoothing::{Certificate, RuleSettings, Side};
use crate::store::fuzz::LooseLog;
use crate::verdict::{Reason, Verdict};
use crate::verification::{Finding, findings_in};

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuzzTarget {
    /// The bytes of a picture, after one byte that says how it is looked at.
    Picture,
    /// `bundle.toml` with its maps and its golden vectors.
    Bundle,
    /// A configuration file.
    Configuration,
    /// A message on `cmd/trigger`.
    Trigger,
    /// The files that `verify` reads.
    Evidence,
    /// Rows of the inspection log, as they are read, listed, shown and exported.
    Rows,
}

impl FuzzTarget {
    pub const ALL: [Self; 6] =
        [Self::Picture, Self::Bundle, Self::Configuration, Self::Trigger, Self::Evidence, Self::Rows];

    pub fn word(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Bundle => "bundle",
            Self::Configuration => "configuration",
            Self::Trigger => "trigger",
            Self::Evidence => "evidence",
            Self::Rows => "rows",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.word() == word)
    }
}

/// Gives the input to the target. Returns whether it was accepted. Panics if a property does not hold.
pub fn run(target: FuzzTarget, data: &[u8]) -> bool {
    match target {
        FuzzTarget::Picture => picture(data),
        FuzzTarget::Bundle => bundle(data),
        FuzzTarget::Configuration => configuration(data),
        FuzzTarget::Trigger => trigger(data),
        FuzzTarget::Evidence => evidence(data),
        FuzzTarget::Rows => rows(data),
    }
}

/// Inputs that the target accepts, to begin with.
pub fn seeds(target: FuzzTarget) -> Vec<Vec<u8>> {
    match target {
        FuzzTarget::Picture => {
            pictures().iter().map(|picture| [&[ROUND_TRIP][..], &encoded(picture)].concat()).collect()
        }
        FuzzTarget::Bundle => vec![bundle_seed(&[""]), bundle_seed(&["", "defect_", "feature_"])],
        FuzzTarget::Configuration => CONFIGURATIONS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        FuzzTarget::Trigger => TRIGGERS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        FuzzTarget::Evidence => pictures()
            .iter()
            .map(|picture| parts(&[&encoded(picture), &tensors(&[("input", &[1, 8, 8])])]))
            .collect(),
        FuzzTarget::Rows => LooseLog::new(&inspection()).expect("a sound row can be stored").seeds(),
    }
}

/// A picture of more pixels is refused, so that no run takes long.
const MOST_PIXELS: u64 = 64 * 64;
const LIMITS: DecodeLimits = DecodeLimits { pixels: MOST_PIXELS };
/// The bit of the first byte that wants the picture written and read again.
const ROUND_TRIP: u8 = 2;

/// What is refused is refused with words.
fn assert_words(words: &str) {
    assert!(words.chars().filter(|c| c.is_alphabetic()).count() > 8, "refused without a reason: {words:?}");
}

fn picture(data: &[u8]) -> bool {
    let Some((mode, bytes)) = data.split_first() else { return false };
    match decode("fuzz", bytes, LIMITS) {
        Err(bad) => {
            assert_words(&bad.to_string());
            false
        }
        Ok(picture) => {
            let Picture { width, height, channels, samples } = &picture;
            let pixels = u64::from(*width) * u64::from(*height);
            assert!((1..=MOST_PIXELS).contains(&pixels), "{width}x{height}");
            let channels = if *channels == Channels::Grey { 1 } else { 3 };
            let count = match samples {
                Samples::Eight(samples) => samples.len(),
                Samples::Sixteen(samples) => samples.len(),
            };
            assert_eq!(count as u64, pixels * channels, "{width}x{height}");
            if mode & ROUND_TRIP != 0 {
                let again = decode("again", &encoded(&picture), LIMITS);
                assert_eq!(again.as_ref(), Ok(&picture), "written and read again");
            }
            true
        }
    }
}

fn encoded(picture: &Picture) -> Vec<u8> {
    png(&to_image(picture).expect("as many samples as pixels"))
}

/// Small pictures of each kind.
fn pictures() -> Vec<Picture> {
    let kinds =
        [Channels::Grey, Channels::Rgb].into_iter().flat_map(|channels| [(channels, 8), (channels, 16)]);
    kinds
        .map(|(channels, bits)| {
            let count = 64 * if channels == Channels::Grey { 1 } else { 3 };
            let samples = match bits {
                8 => Samples::Eight((0..count).map(|at| (at * 37) as u8).collect()),
                _ => Samples::Sixteen((0..count).map(|at| (at * 12_345) as u16).collect()),
            };
            Picture { width: 8, height: 8, channels, samples }
        })
        .collect()
}

/// Splits an input into parts, each with its length (u16) before it; what is missing is empty.
fn split<const PARTS: usize>(mut data: &[u8]) -> [&[u8]; PARTS] {
    std::array::from_fn(|_| {
        let Some((length, rest)) = data.split_first_chunk::<2>() else { return &[][..] };
        let (part, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        data = rest;
        part
    })
}

fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u16).to_le_bytes()[..], part].concat()).collect()
}

/// A safetensors file with these tensors, all of ones.
fn tensors(list: &[(&str, &[usize])]) -> Vec<u8> {
    let mut head = serde_json::Map::new();
    let mut bytes = Vec::new();
    for (name, shape) in list {
        let begin = bytes.len();
        bytes.extend(std::iter::repeat_n(1.0_f32.to_le_bytes(), shape.iter().product()).flatten());
        let entry =
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, bytes.len()] });
        head.insert((*name).to_owned(), entry);
    }
    let mut head = serde_json::Value::Object(head).to_string().into_bytes();
    head.resize(head.len().next_multiple_of(8), b' ');
    [&(head.len() as u64).to_le_bytes()[..], &head, &bytes].concat()
}

fn bundle(data: &[u8]) -> bool {
    let [manifest, maps, golden] = split(data);
    let read = bundle::fuzz::read_parts(&String::from_utf8_lossy(manifest), maps, golden);
    read.map_err(|error| assert_words(&error.to_string())).is_ok()
}

/// A bundle with training maps of these kinds; the score weighs all of them.
fn bundle_seed(kinds: &[&str]) -> Vec<u8> {
    let mut names = Vec::new();
    for score in ["", "empirical_"] {
        for kind in kinds {
            names.extend(["mean", "std"].map(|part| format!("{score}{kind}{part}")));
        }
    }
    let maps: Vec<_> = names.iter().map(|name| (name.as_str(), &[8_usize, 8][..])).collect();
    let weights = if kinds.len() > 1 { "head_weight = 0.25\nfeature_weight = 0.5\n" } else { "" };
    let manifest = MANIFEST.replace("[golden]", &format!("{weights}[golden]"));
    let golden = [
        ("input", &[1_usize, 1, 8, 8][..]),
        ("noise", &[1, 1, 1, 8, 8]),
        ("inner_noise", &[1, 1, 1, 8, 8]),
        ("raw_score", &[1, 1]),
        ("raw_empirical", &[1]),
    ];
    parts(&[manifest.as_bytes(), &tensors(&maps), &tensors(&golden)])
}

fn configuration(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, Path::new("/nowhere/station.toml")) {
        Ok(config) => {
            assert_eq!(config.text, text);
            true
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            error.problems.iter().for_each(|problem| assert_words(problem));
            false
        }
    }
}

fn trigger(data: &[u8]) -> bool {
    let answer: serde_json::Value =
        serde_json::from_str(&publish::fuzz::answer_to(data)).expect("the answer is JSON");
    for key in ["part_id", "meas_id"] {
        let name = answer[key].as_str().unwrap_or_default();
        // GS and its like are part of scanned codes.
        let controls = |letter: char| letter.is_control() && !matches!(letter, '\x04' | '\x1c'..='\x1f');
        assert!(name.chars().count() <= 128 && !name.contains(controls), "{answer}");
    }
    match answer["ack"].as_str() {
        Some("accepted") => true,
        Some("refused") => {
            assert_words(answer["reason"].as_str().unwrap_or_default());
            false
        }
        _ => panic!("no answer: {answer}"),
    }
}

fn evidence(data: &[u8]) -> bool {
    thread_local!(static INSPECTION: LazyCell<Inspection> = const { LazyCell::new(broken) });
    let [frame, input] = split(data);
    let found = INSPECTION.with(|inspection| findings_in(inspection, frame, LIMITS, input));
    for finding in &found {
        if let Finding::Different(why) | Finding::Gone(why) = finding {
            assert_words(why);
        }
    }
    found.iter().all(|finding| !matches!(finding, Finding::Different(why) if why.contains("damaged")))
}

fn rows(data: &[u8]) -> bool {
    thread_local!(static LOG: LazyCell<LooseLog> = const { LazyCell::new(|| {
        LooseLog::new(&inspection()).expect("a sound row can be stored")
    }) });
    let words = LOG.with(|log| {
        log.read(data, |record| inspections::fuzz::printed(record, data.len() / 3))
            .expect("the log in memory can be changed")
    });
    words.map(|words| assert_words(&words)).is_none()
}

/// The inspection of a picture that could not be read.
fn broken() -> Inspection {
    let frame = Frame {
        source_seq: 1,
        captured_at: Stamp::now(),
        part_id: Some("part.png".to_owned()),
        meas_id: None,
        picture: Ok(pictures().remove(0)),
        encoded: None,
        truth: None,
    };
    let outcome = FrameOutcome::NotDrawn { reason: Reason::BadFrame, fault: "cut off".to_owned() };
    Inspection::of(&frame, FrameSeed([7; 32]), outcome, Latency::default(), &Arc::new(parameters()))
}

/// The inspection of a normal part.
fn inspection() -> Inspection {
    let certificate = Certificate {
        side: Some(Side::Normal),
        radius: 0.05,
        draws: 3,
        above: 0,
        not_a_number: 0,
        score: Some(0.5),
        score_lower: Some(0.25),
        score_upper: Some(0.75),
    };
    Inspection {
        verdict: Verdict::Normal,
        certificate: Some(certificate),
        fault: None,
        scores: vec![0.25, 0.5, 0.75],
        batches: vec![3],
        frame_px: Some([8, 8]),
        ..broken()
    }
}

fn parameters() -> Parameters {
    Parameters {
        model: "made-up@1".to_owned(),
        model_sha256: "ab".repeat(32),
        bundle_sha256: "cd".repeat(32),
        input: [1, 8, 8],
        k: 1,
        sigma: 0.1,
        threshold: 1.0,
        rule: RuleSettings::new(0.05),
        required_radius: 0.05,
        deadline_ms: Some(100),
        recipe: Some("recipe".to_owned()),
        batch: 8,
        computation: Computation {
            provider: "cpu".to_owned(),
            precision: "fp32".to_owned(),
            onnxruntime: "1.31.0".to_owned(),
            threads: 1,
            cpu: "made up".to_owned(),
        },
        region: None,
    }
}

const TRIGGERS: [&str; 4] = [
    "{}",
    r#"{"part_id":"A 17","meas_id":null}"#,
    "\u{feff}{\"part_id\":\"größe\\u001d21\\r\",\"meas_id\":\"7\"}\r\n\0",
    "{\"part_id\":\"]d2010401234\u{1d}21A\r\"}",
];

const MANIFEST: &str = r#"format = 1
name = "made-up"
version = 1
[model]
file = "model.onnx"
sha256 = "ab"
storage = "fp32"
[input]
channels = 1
height = 8
width = 8
range = [0.0, 1.0]
[schedule]
kind = "linear"
steps = 10
beta_first = 0.0001
beta_last = 0.02
[detector]
k = 9
sigma = 0.1
draws = 8
[score]
scales = [1, 2]
filter_px = 3
top_pixels = 4
[golden]
file = "golden.safetensors"
sha256 = "ab"
raw_spread = 0.1
tolerance = { fp32 = 0.01 }
[provenance]
[calibration]
maps = "maps.safetensors"
maps_sha256 = "ab"
threshold = 1.0
radius = 0.02
false_alarm_rate = 0.05
beta = 0.01
draws = 8
maps_groups = 10
threshold_groups = 10
realised_rate = [0.0, 0.1]
score_spread = 0.1
empirical_spread = 0.1
calibrated_at = "2026-11-28T06:00:00Z"
onnxruntime = "1.31.0"
"#;

const CONFIGURATIONS: [&str; 3] = [
    include_str!("../config/folder.toml"),
    include_str!("../config/camera.toml"),
    include_str!("../config/simulator.toml"),
];
