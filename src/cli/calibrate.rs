//! `certiscope calibrate`: the one tool that makes training maps and a threshold.
//!
//! Guarantees: the bundle it is given stays as it is, a new version is written beside it, whole or not at
//! all; no part is behind both maps and threshold; every picture that is not used is counted; the same pictures
//! and seed give the same maps and threshold on the same machine.
//! Leaves out: whether a picture shows a good part, which the user must know; the highest scores are named.

mod parts;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{Failure, ModelArgs, load_bundle, progress_bar, source_note};
use crate::bundle::manifest::CalibrationSection;
use crate::bundle::{Bundle, Calibrated, ForPeople};
use crate::calibration::conformal::{ThresholdRequest, ThresholdRule};
use crate::calibration::maps::MapAccumulator;
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::score::TrainingMaps;
use crate::smoothing::fixed::{FixedDesign, FixedRun};
use parts::{Part, Parts};
use report::{ALPHA, Report};

/// Share of good parts above the threshold that is asked for unless told otherwise.
pub(super) const FALSE_ALARM_RATE: f64 = 0.01;

/// Draws of each frame that go into the maps: the maps average over frames, few draws of each do.
const MAP_DRAWS: u32 = 8;
/// Parts without which maps would be noise.
pub(super) const MAP_PARTS_NEEDED: usize = 20;

/// Find training maps and threshold from pictures of normal parts; writes a new bundle.
///
/// Split conformal: a fresh normal part is called anomalous with probability of at most
/// false-alarm-rate + beta + alpha, and (with --radius) is certifiable as normal at that radius but for
/// false-alarm-rate + beta. Near-duplicate pictures count once, and parts that both folders show count for the maps
/// only. The bundle is not changed: a new one with the next version is written beside it, with scores.svg, the
/// distribution of the scores, and scores.json, which says what each part scored.
#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// Folder of the bundle to calibrate
    #[arg(long)]
    bundle: PathBuf,
    /// Pictures of normal parts for the threshold; not those that the model was trained on
    #[arg(long)]
    normal: PathBuf,
    /// Pictures of normal parts for the maps, such as the training pictures [default: half of --normal]
    #[arg(long)]
    maps: Option<PathBuf>,
    /// Folder for the new bundle; must not exist [default: beside the bundle, named by the next free version: B-v2]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Share of normal parts that may score above the threshold
    #[arg(long, default_value_t = FALSE_ALARM_RATE)]
    false_alarm_rate: f64,
    /// Failure probability of the bound of one frame's score
    #[arg(long, default_value_t = 0.001)]
    beta: f64,
    /// l2 radius at the model input at which normal parts shall be certifiable [default: half the sigma]
    #[arg(long)]
    radius: Option<f64>,
    /// Every picture shows another part: count look-alikes separately (parts from one mould look alike)
    #[arg(long)]
    distinct_parts: bool,
    /// Seed of the noise: the same pictures give the same threshold. Trying several and keeping the best voids it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let bundle = load_bundle(&args.bundle)?;
    let next = match &args.out {
        Some(folder) => Version { folder: folder.clone(), number: bundle.manifest.version + 1 },
        None => Version::next_of(&bundle).map_err(Failure::Refused)?,
    };
    if next.folder.exists() {
        let words = anyhow!("--out {}: exists already; give a folder that does not", next.folder.display());
        return Err(Failure::refused(words));
    }
    let (draws, sigma) = (bundle.manifest.detector.draws, bundle.level.sigma());
    let radius = args.radius.unwrap_or(sigma / 2.0);
    let request =
        ThresholdRequest { false_alarms: args.false_alarm_rate, beta: args.beta, radius, sigma, draws };
    let rule = ThresholdRule::new(request).map_err(Failure::refused)?;
    let design = FixedDesign::new(draws, ALPHA, sigma).map_err(Failure::refused)?;

    let parts = Parts::of(args, bundle.input_shape())?;
    if parts.maps.len() < MAP_PARTS_NEEDED || parts.threshold.len() < rule.frames_needed() {
        return Err(Failure::refused(anyhow!(
            "normal parts: {}: too few; at least {MAP_PARTS_NEEDED} and {} different parts are needed at a false alarm rate of {}; look-alikes count as one part unless --distinct-parts is given",
            parts.in_words(),
            rule.frames_needed(),
            args.false_alarm_rate
        )));
    }

    let camera = source_note::of_pictures(&args.normal).map_err(Failure::Refused)?;
    let (mut detector, _, runtime) = args.model.open(&bundle)?;
    // Not fresh entropy, as a station's frames have: nobody attacks good parts that lie here, and a threshold that
    // can be made again can be checked.
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let (maps, empirical_maps) = make_maps(&mut detector, &parts.maps, &mut rng)?;
    detector.set_maps(maps.clone(), empirical_maps.clone());
    let scored = score_parts(&mut detector, &parts.threshold, design, &rule, &mut rng)?;
    let bounds: Vec<f32> = scored.iter().map(|part| part.bound).collect();
    let threshold = rule.threshold(&bounds).map_err(Failure::refused)?;
    let calibration = CalibrationSection {
        maps: "maps.safetensors".to_owned(),
        // Known once the file is written.
        maps_sha256: String::new(),
        threshold: threshold.value,
        radius,
        false_alarm_rate: args.false_alarm_rate,
        beta: args.beta,
        draws,
        maps_groups: parts.maps.len(),
        threshold_groups: parts.threshold.len(),
        realised_rate: threshold.realised,
        score_spread: deviation(&scored, Scored::smoothed)?,
        empirical_spread: deviation(&scored, |part| part.empirical)?,
        calibrated_at: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        onnxruntime: runtime.build_info().to_owned(),
        camera,
    };
    let golden =
        detector.golden_run(&bundle).map_err(Failure::stopped)?.scores(&bundle.score, &maps, &empirical_maps);
    let calibrated = Calibrated { maps, empirical_maps, threshold: threshold.value };
    let report = Report { args, bundle: &bundle, threshold, parts: &scored, radius };
    let scores = serde_json::to_string_pretty(&report.json()).expect("a JSON value is always text");
    let for_people: ForPeople<'_> = &[("scores.svg", &report.picture()), ("scores.json", &scores)];
    bundle
        .write_calibrated(&next.folder, next.number, &calibrated, calibration, golden, for_people)
        .map_err(Failure::stopped)?;
    report.print(&parts.in_words(), begun.elapsed());
    println!(
        "written: {} ({}@{}); its scores: {}",
        next.folder.display(),
        bundle.manifest.name,
        next.number,
        next.folder.join("scores.svg").display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A bundle that is to be written.
struct Version {
    folder: PathBuf,
    number: u32,
}

impl Version {
    /// The one after all that lie beside the bundle: B, B-v2, B-v3. A number is never given twice there, also where
    /// the same bundle is calibrated again.
    fn next_of(bundle: &Bundle) -> anyhow::Result<Self> {
        let at = || bundle.folder.display().to_string();
        let folder = bundle.folder.canonicalize().with_context(at)?;
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            anyhow!("{}: its name says nothing to name the next version by; give --out", folder.display())
        })?;
        let own = bundle.manifest.version;
        let stem = name.strip_suffix(&format!("-v{own}")).unwrap_or(name);
        let beside = folder.parent().expect("what has a name lies somewhere");
        let mut newest = own;
        for entry in beside.read_dir().with_context(at)? {
            let name = entry.with_context(at)?.file_name();
            let tail = name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_prefix("-v"));
            newest = newest.max(tail.and_then(|number| number.parse().ok()).unwrap_or(0));
        }
        let number = newest.saturating_add(1);
        Ok(Self { folder: beside.join(format!("{stem}-v{number}")), number })
    }
}

/// Maps of the certified and of the empirical error.
fn make_maps(
    detector: &mut Detector,
    inputs: &[Input],
    rng: &mut ChaCha20Rng,
) -> Result<(TrainingMaps, TrainingMaps), Failure> {
    let (mut certified, mut empirical) = (MapAccumulator::default(), MapAccumulator::default());
    let bar = progress_bar(inputs.len() as u64, "training maps");
    for input in inputs {
        let seed = FrameSeed(rng.random());
        let pairs = detector.draws(input, seed).next(MAP_DRAWS).map_err(Failure::stopped)?;
        for pair in &pairs {
            certified.add(&detector.certified_maps(pair));
        }
        empirical.add(&detector.empirical_maps(input, &pairs));
        bar.inc(1);
    }
    bar.finish();
    certified.maps().zip(empirical.maps()).ok_or_else(|| {
        Failure::refused(anyhow!("training maps: the errors of the normal pictures do not vary or are not numbers; pictures of different parts and a sound model are needed"))
    })
}

/// A part of the threshold side with its scores.
struct Scored {
    name: String,
    bound: f32,
    empirical: f32,
    run: FixedRun,
}

impl Scored {
    /// The median over the draws; NaN where no draw gave a number.
    fn smoothed(&self) -> f32 {
        self.run.median().unwrap_or(f32::NAN)
    }
}

/// Scores the parts; the highest bound first.
fn score_parts(
    detector: &mut Detector,
    parts: &[Part],
    design: FixedDesign,
    rule: &ThresholdRule,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Scored>, Failure> {
    let mut scored = Vec::with_capacity(parts.len());
    let bar = progress_bar(parts.len() as u64, "threshold");
    for Part { name, input } in parts {
        let seed = FrameSeed(rng.random());
        let pairs = detector
            .draws(input, seed)
            .next(design.draws())
            .with_context(|| name.clone())
            .map_err(Failure::Stopped)?;
        let scores: Vec<_> = pairs.iter().map(|pair| detector.certified(pair)).collect();
        let lost = scores.iter().filter(|score| score.value().is_nan()).count();
        if lost > 0 {
            bar.suspend(|| {
                tracing::warn!("{name}: {lost} draws gave no number and count as infinitely anomalous");
            });
        }
        scored.push(Scored {
            name: name.clone(),
            bound: rule.bound(&scores).map_err(Failure::refused)?,
            empirical: detector.empirical(input, &pairs).value(),
            run: design.observe(&scores).map_err(Failure::refused)?,
        });
        bar.inc(1);
    }
    bar.finish();
    scored.sort_by(|one, other| other.bound.total_cmp(&one.bound));
    Ok(scored)
}

/// Standard deviation of the scores that are numbers; refused where they do not vary, since nothing could be told
/// apart by them.
fn deviation(parts: &[Scored], score: impl Fn(&Scored) -> f32) -> Result<f64, Failure> {
    let finite: Vec<f64> = parts.iter().map(score).filter(|v| v.is_finite()).map(f64::from).collect();
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let deviation =
        (finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (finite.len() as f64 - 1.0)).sqrt();
    if deviation > 0.0 {
        return Ok(deviation);
    }
    Err(Failure::refused(anyhow!(
        "scores: those of the normal parts are all the same or not numbers; pictures of different parts and a sound model are needed"
    )))
}
