//! `certiscope calibrate`: computes training maps and a threshold from pictures of normal parts. No other tool does that.
//!
//! Guarantees: the given bundle is not changed; a new version is written beside it, whole or not at all. No part is used
//! for both maps and threshold. Every picture that is not used is counted. The same pictures and seed give the same maps
//! and threshold on the same machine. Pictures that one camera cannot have made, or that the noise buries, are refused. A threshold
//! that is not to be believed is written, and the reasons for doubt come first in the report.
//! Leaves out: checking that a picture shows a good part. The user must do that; the parts with the highest scores are
//! named.

mod args;
mod doubts;
mod measure;
mod parts;
mod picture_set;
mod planted;
mod report;
mod version;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub(super) use self::args::{CalibrateArgs, FALSE_ALARM_RATE};
use self::measure::{ScoredPart, deviation, make_maps, score_parts};
use self::parts::NormalParts;
use self::report::CalibrationReport;
use self::version::Version;
use super::{Failure, load_bundle, source_note};
use crate::bundle::manifest::{CalibrationSection, PicturesSection};
use crate::bundle::{Calibrated, ForPeople};
use crate::calibration::conformal::{ThresholdRequest, ThresholdRule};
use crate::cli::output::print_line;
use crate::smoothing::{FixedDesign, RuleSettings};

/// The least number of parts for the maps; with fewer the maps would be noise.
pub(super) const MAP_PARTS_NEEDED: usize = 20;

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let bundle = load_bundle(&args.bundle)?.with_full_scale(args.full_scale);
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
    let design = FixedDesign::new(draws, RuleSettings::USUAL_ALPHA, sigma).map_err(Failure::refused)?;

    let parts = NormalParts::of(args, &bundle)?;
    if parts.maps.len() < MAP_PARTS_NEEDED || parts.threshold.len() < rule.frames_needed() {
        return Err(Failure::refused(anyhow!(
            "normal parts: {}: too few; at least {MAP_PARTS_NEEDED} and {} different parts are needed at a false alarm rate of {}; near-identical pictures count as one part; where names or sub-folders tell the part, give --part-from, and --distinct-parts if every picture shows another part",
            parts.in_words(),
            rule.frames_needed(),
            args.false_alarm_rate
        )));
    }

    doubts::refuse_what_noise_buries(&parts.set, sigma)?;
    let camera = source_note::of_pictures(&args.normal).map_err(Failure::Refused)?;
    let (mut detector, _, runtime) = args.model.open(&bundle)?;
    // A fixed seed, not fresh entropy as for a station's frames: these pictures are not under attack, and a threshold
    // that can be computed again can be checked.
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let (maps, empirical_maps) = make_maps(&mut detector, &parts.maps, &mut rng)?;
    detector.set_maps(maps.clone(), empirical_maps.clone());
    let scored = score_parts(&mut detector, &parts.threshold, design, &rule, &mut rng)?;
    let bounds: Vec<f32> = scored.iter().map(|part| part.bound).collect();
    let threshold = rule.threshold(&bounds).map_err(Failure::refused)?;
    let planted = planted::scores(&mut detector, &parts.threshold, &mut rng)?;
    let mut doubts = doubts::of_pictures(&parts.set, sigma);
    let found = planted.iter().filter(|&&score| score > threshold.value).count();
    doubts.extend(doubts::of_threshold(threshold.value, &bounds, found, planted.len()));
    let calibration = CalibrationSection {
        maps: "maps.safetensors".to_owned(),
        // Filled in when the file is written.
        maps_sha256: String::new(),
        threshold: threshold.value,
        radius,
        false_alarm_rate: args.false_alarm_rate,
        beta: args.beta,
        draws,
        maps_groups: parts.maps.len(),
        threshold_groups: parts.threshold.len(),
        realised_rate: threshold.realised,
        score_spread: deviation(&scored, ScoredPart::smoothed)?,
        empirical_spread: deviation(&scored, |part| part.empirical)?,
        calibrated_at: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        onnxruntime: runtime.build_info().to_owned(),
        camera,
        pictures: parts.set.range.map(PicturesSection::from),
    };
    let golden =
        detector.golden_run(&bundle).map_err(Failure::stopped)?.scores(&bundle.score, &maps, &empirical_maps);
    let calibrated = Calibrated { maps, empirical_maps, threshold: threshold.value };
    let report = CalibrationReport {
        args,
        bundle: &bundle,
        threshold,
        parts: &scored,
        radius,
        mixed_sizes: parts.set.mixed_sizes.clone(),
        doubts: &doubts,
        planted: &planted,
    };
    let scores = serde_json::to_string_pretty(&report.json()).expect("a JSON value is always text");
    let for_people: ForPeople<'_> = &[("scores.svg", &report.picture()), ("scores.json", &scores)];
    bundle
        .write_calibrated(&next.folder, next.number, &calibrated, calibration, golden, for_people)
        .map_err(Failure::stopped)?;
    report.print(&parts.in_words(), begun.elapsed());
    print_line!(
        "written: {} ({}@{}); its scores: {}",
        next.folder.display(),
        bundle.manifest.name,
        next.number,
        next.folder.join("scores.svg").display()
    );
    if !doubts.is_empty() {
        print_line!("do not use it before the {} doubts above are cleared", doubts.len());
    }
    Ok(ExitCode::SUCCESS)
}
