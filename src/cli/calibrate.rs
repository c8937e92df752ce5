//! `certiscope calibrate`: the one tool that makes training maps and a threshold.
//!
//! Guarantees: the bundle it is given stays as it is, a new version is written beside it, whole or not at
//! all; where one folder gives both maps and threshold, no part is behind both; every picture that is not used
//! is counted and named. Leaves out: whether two folders show the same parts, which the user must know.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::frames::{self, Pictures};
use super::{Failure, ModelArgs, load_bundle, progress_bar};
use crate::bundle::manifest::Calibration;
use crate::bundle::{Bundle, Calibrated};
use crate::calibration::groups::first_of_each;
use crate::calibration::maps::MapAccumulator;
use crate::calibration::{Request, Threshold, ThresholdRule};
use crate::detector::Detector;
use crate::diffusion::noise::fresh_seed;
use crate::preprocess::{Input, InputShape};
use crate::score::TrainingMaps;

/// Draws of each frame that go into the maps: the maps average over frames, few draws of each do.
const MAP_DRAWS: u32 = 8;
/// Frames without which maps would be noise.
const MAP_FRAMES_NEEDED: usize = 20;

/// Find training maps and threshold from pictures of normal parts; writes a new bundle.
///
/// Split conformal: a fresh normal part is called anomalous with probability of at most
/// false-alarm-rate + beta + alpha, and (with --radius) is certifiable as normal at that radius but for
/// false-alarm-rate + beta. Near-duplicate pictures count once. The bundle is not changed: a new one with
/// the next version is written.
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
    /// Folder for the new bundle; must not exist
    #[arg(long)]
    out: PathBuf,
    /// Share of normal parts that may score above the threshold
    #[arg(long, default_value_t = 0.01)]
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
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let bundle = load_bundle(&args.bundle)?;
    if args.out.exists() {
        let words = anyhow!("--out {}: exists already; give a folder that does not", args.out.display());
        return Err(Failure::refused(words));
    }
    let draws = bundle.manifest.detector.draws;
    let radius = args.radius.unwrap_or(bundle.level.sigma() / 2.0);
    let rule = ThresholdRule::new(Request {
        false_alarms: args.false_alarm_rate,
        beta: args.beta,
        radius,
        sigma: bundle.level.sigma(),
        draws,
    })
    .map_err(Failure::refused)?;

    let normal = one_per_part(&args.normal, bundle.input_shape(), args.distinct_parts)?;
    let (for_maps, for_threshold) = match &args.maps {
        Some(folder) => (one_per_part(folder, bundle.input_shape(), args.distinct_parts)?, normal),
        None => every_other(normal),
    };
    if for_maps.len() < MAP_FRAMES_NEEDED || for_threshold.len() < rule.frames_needed() {
        return Err(Failure::refused(anyhow!(
            "normal parts: {} for the maps and {} for the threshold: too few; at least {MAP_FRAMES_NEEDED} and {} different parts are needed at a false alarm rate of {}; look-alikes count as one part unless --distinct-parts is given",
            for_maps.len(),
            for_threshold.len(),
            rule.frames_needed(),
            args.false_alarm_rate
        )));
    }

    let (mut detector, _, runtime) = args.model.open(&bundle)?;
    let (maps, empirical_maps) = make_maps(&mut detector, &for_maps)?;
    detector.set_maps(maps.clone(), empirical_maps.clone());
    let scored = score_normals(&mut detector, &for_threshold, draws, &rule)?;
    let threshold = rule.threshold(&scored.bounds).map_err(Failure::refused)?;
    let calibration = Calibration {
        maps: "maps.safetensors".to_owned(),
        // Known once the file is written.
        maps_sha256: String::new(),
        threshold: threshold.value,
        radius,
        false_alarm_rate: args.false_alarm_rate,
        beta: args.beta,
        draws,
        maps_groups: for_maps.len(),
        threshold_groups: for_threshold.len(),
        realised_rate: threshold.realised,
        score_spread: deviation(&scored.medians),
        empirical_spread: deviation(&scored.empirical),
        calibrated_at: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        onnxruntime: runtime.build_info().to_owned(),
    };
    let golden =
        detector.golden_run(&bundle).map_err(Failure::stopped)?.scores(&bundle.score, &maps, &empirical_maps);
    let calibrated = Calibrated { maps, empirical_maps, threshold: threshold.value };
    bundle.write_calibrated(&args.out, &calibrated, calibration, golden).map_err(Failure::stopped)?;
    report(&args.out, &bundle, &threshold, &scored, radius);
    Ok(ExitCode::SUCCESS)
}

/// The inputs of a folder of normal pictures, the first picture of each part.
fn one_per_part(folder: &Path, shape: InputShape, distinct: bool) -> Result<Vec<Input>, Failure> {
    let Pictures { pictures, unusable } = frames::read(folder, shape, distinct)?;
    if let Some(defect) = pictures.iter().find(|p| p.truth.as_ref().is_some_and(|truth| truth.is_defect())) {
        let words = "a picture of a defect; only normal parts calibrate";
        return Err(Failure::refused(anyhow!("{}: {}: {words}", folder.display(), defect.name)));
    }
    let all = pictures.len();
    let part_of: Vec<usize> = pictures.iter().map(|picture| picture.group).collect();
    let inputs: Vec<Input> =
        first_of_each(&part_of).into_iter().map(|first| pictures[first].input.clone()).collect();
    println!(
        "{}: {all} pictures of {} parts, {} left out as unusable",
        folder.display(),
        inputs.len(),
        unusable.len()
    );
    Ok(inputs)
}

/// Splits parts in two, alternating, so that drift over the day is in both halves.
fn every_other(inputs: Vec<Input>) -> (Vec<Input>, Vec<Input>) {
    let (even, odd): (Vec<_>, Vec<_>) = inputs.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let plain = |list: Vec<(usize, Input)>| list.into_iter().map(|(_, input)| input).collect();
    (plain(even), plain(odd))
}

/// Maps of the certified and of the empirical error.
fn make_maps(detector: &mut Detector, inputs: &[Input]) -> Result<(TrainingMaps, TrainingMaps), Failure> {
    let (mut certified, mut empirical) = (MapAccumulator::default(), MapAccumulator::default());
    let bar = progress_bar(inputs.len() as u64, "training maps");
    for input in inputs {
        let seed = fresh_seed().map_err(Failure::stopped)?;
        let pairs = detector.reconstruct(input, seed, 0..MAP_DRAWS).map_err(Failure::stopped)?;
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

/// The scores of the threshold frames.
struct Scored {
    bounds: Vec<f32>,
    medians: Vec<f32>,
    empirical: Vec<f32>,
}

fn score_normals(
    detector: &mut Detector,
    inputs: &[Input],
    draws: u32,
    rule: &ThresholdRule,
) -> Result<Scored, Failure> {
    let mut scored = Scored { bounds: Vec::new(), medians: Vec::new(), empirical: Vec::new() };
    let bar = progress_bar(inputs.len() as u64, "threshold");
    for input in inputs {
        let seed = fresh_seed().map_err(Failure::stopped)?;
        let pairs = detector.reconstruct(input, seed, 0..draws).map_err(Failure::stopped)?;
        let scores: Vec<_> = pairs.iter().map(|pair| detector.certified(pair)).collect();
        scored.bounds.push(rule.bound(&scores).map_err(Failure::refused)?);
        let mut values: Vec<f32> = scores.iter().map(|score| score.value()).collect();
        values.sort_unstable_by(f32::total_cmp);
        scored.medians.push(values[values.len() / 2]);
        scored.empirical.push(detector.empirical(input, &pairs).value());
        bar.inc(1);
    }
    bar.finish();
    Ok(scored)
}

/// Standard deviation of finite values.
fn deviation(values: &[f32]) -> f64 {
    let finite: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    (finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (finite.len() as f64 - 1.0)).sqrt()
}

fn report(out: &Path, bundle: &Bundle, threshold: &Threshold, scored: &Scored, radius: f64) {
    let [low, high] = threshold.realised;
    let mut medians = scored.medians.clone();
    medians.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| medians[((medians.len() - 1) as f64 * share) as usize];
    println!(
        "threshold {:.4} from {} parts, certifiable as normal at radius {radius:.4} (sigma {:.4})",
        threshold.value,
        threshold.frames,
        bundle.level.sigma()
    );
    println!(
        "smoothed scores of normal parts: median {:.4}, 95 % {:.4}, highest {:.4}",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    println!(
        "share of normal parts above the threshold's bound, over calibrations like this one: {:.2} % to {:.2} % (90 %)",
        100.0 * low,
        100.0 * high
    );
    println!("written: {}", out.display());
}
