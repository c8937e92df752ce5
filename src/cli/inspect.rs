//! `certiscope inspect`: inspects single pictures, by the same code as `run`.
//!
//! Guarantees: writes no file unless `--heat-maps` names a folder for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Failure, ModelArgs, load_bundle, or_dash, rounded_down};
use crate::capture::decode::DecodeLimits;
use crate::capture::{Frame, folder};
use crate::cli::output::print_line;
use crate::diffusion::seed::fresh_seed;
use crate::heat_map::heat_beside_frame;
use crate::inspection::{Inspection, InspectorSettings};
use crate::inspector::{Inspected, Inspector};
use crate::pulse::Pulse;
use crate::smoothing::RuleSettings;

/// Inspect single pictures: verdict, radius and scores, and on request a heat map.
///
/// Each picture gets one verdict. A picture that cannot be read gets `abstain`, with the reason.
/// No file is written unless --heat-maps is given.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Pictures (PNG, JPEG, BMP, TIFF); turned as their orientation (EXIF) says
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Folder of a calibrated bundle
    #[arg(long)]
    bundle: PathBuf,
    /// Highest probability that the certificate of one verdict is wrong
    #[arg(long, default_value_t = RuleSettings::USUAL_ALPHA)]
    alpha: f64,
    /// Stop drawing when this l2 radius at the model input is certified [default: half the bundle's sigma]
    #[arg(long)]
    target_radius: Option<f64>,
    /// Stop after this many draws: the radius certified so far counts; if there is none, the verdict is `abstain`
    #[arg(long, default_value_t = RuleSettings::USUAL_MAX_DRAWS)]
    max_draws: u32,
    /// Write the heat maps to this folder, as NAME-heatmap.png (numbered where names repeat)
    #[arg(long, value_name = "FOLDER")]
    heat_maps: Option<PathBuf>,
    /// Print the results as a JSON array instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let bundle = load_bundle(&args.bundle)?;
    let (mut detector, opened, _) = args.model.open(&bundle)?;
    let target_radius = args.target_radius.unwrap_or(bundle.level.sigma() / 2.0);
    let settings = InspectorSettings {
        region: None,
        rule: RuleSettings {
            alpha: args.alpha,
            max_draws: args.max_draws,
            ..RuleSettings::new(target_radius)
        },
        required_radius: target_radius,
        deadline_ms: None,
        recipe: None,
        report_empirical: true,
    };
    let heat_maps_wanted = args.heat_maps.is_some();
    let inspector =
        Inspector::new(&bundle, &detector, &opened.provider, &settings, move |_, _| heat_maps_wanted)
            .map_err(Failure::refused)?;
    if let Some(folder) = &args.heat_maps {
        std::fs::create_dir_all(folder)
            .with_context(|| folder.display().to_string())
            .map_err(Failure::refused)?;
    }
    let mut results = Vec::new();
    let mut names = HashMap::new();
    for (at, path) in args.images.iter().enumerate() {
        let frame = folder::read_frame(path, at as u64 + 1, DecodeLimits::default());
        let seed = fresh_seed().map_err(Failure::stopped)?;
        let inspected = inspector.inspect(&mut detector, &Pulse::default(), &frame, seed, Instant::now());
        let heat_map = match &args.heat_maps {
            Some(folder) => write_heat_map(folder, heat_map_name(path, &mut names), &frame, &inspected)?,
            None => None,
        };
        if !args.json {
            print_line!("{}", in_words(path, &inspected.inspection, heat_map.as_deref()));
        }
        results.push(as_json(path, &inspected.inspection, heat_map.as_deref()));
    }
    if args.json {
        print_line!("{:#}", serde_json::Value::from(results));
    }
    Ok(ExitCode::SUCCESS)
}

/// A file name for the picture's heat map, different from those of the pictures before it.
fn heat_map_name(picture: &Path, names: &mut HashMap<String, u32>) -> String {
    let stem = picture.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let times = names.entry(stem.clone()).and_modify(|times| *times += 1).or_insert(1);
    if *times == 1 { format!("{stem}-heatmap.png") } else { format!("{stem}-{times}-heatmap.png") }
}

/// Draws the heat map of a picture, if there is one, and returns its file.
fn write_heat_map(
    folder: &Path,
    name: String,
    frame: &Frame,
    inspected: &Inspected,
) -> Result<Option<PathBuf>, Failure> {
    let (Ok(pixels), Some(heat)) = (&frame.picture, &inspected.heat_map) else {
        return Ok(None);
    };
    let file = folder.join(name);
    heat_beside_frame(pixels, heat, inspected.inspection.parameters.threshold)
        .save(&file)
        .with_context(|| file.display().to_string())
        .map_err(Failure::stopped)?;
    Ok(Some(file))
}

fn in_words(path: &Path, inspection: &Inspection, heat_map: Option<&Path>) -> String {
    let mut words = format!("{}: {}", path.display(), inspection.verdict.word());
    if let Some(reason) = inspection.verdict.reason() {
        words += &format!(" ({})", inspection.fault.as_deref().unwrap_or(reason.word()));
    }
    if let Some(certificate) = &inspection.certificate {
        if let (Some(frame), Some(grey)) = (inspection.frame_radius, inspection.radius_grey()) {
            words += &format!(
                "\n  certified radius {} at the model input ({} grey levels RMS), {} at the frame",
                rounded_down(certificate.radius),
                rounded_down(grey),
                rounded_down(frame)
            );
        }
        words += &format!(
            "\n  score {} against threshold {}, empirical score {} (no certificate), {} draws in {:.0} ms",
            or_dash(certificate.score),
            inspection.parameters.threshold,
            or_dash(inspection.empirical_score),
            certificate.draws,
            inspection.latency.infer_ms
        );
    }
    if let Some(file) = heat_map {
        words += &format!("\n  heat map {}", file.display());
    }
    words
}

fn as_json(path: &Path, inspection: &Inspection, heat_map: Option<&Path>) -> serde_json::Value {
    let certificate = inspection.certificate.as_ref();
    let certified = certificate.filter(|certificate| certificate.side.is_some());
    json!({
        "picture": path,
        "verdict": inspection.verdict.word(),
        "reason": inspection.verdict.reason().map(|reason| reason.word()),
        "fault": inspection.fault,
        "radius": certified.map(|certificate| certificate.radius),
        "frame_radius": inspection.frame_radius,
        "radius_grey": inspection.radius_grey(),
        "score": certificate.and_then(|certificate| certificate.score),
        "score_lower": certificate.and_then(|certificate| certificate.score_lower),
        "score_upper": certificate.and_then(|certificate| certificate.score_upper),
        "threshold": inspection.parameters.threshold,
        "empirical_score": inspection.empirical_score,
        "draws": certificate.map(|certificate| certificate.draws),
        "sigma": inspection.parameters.sigma,
        "alpha": inspection.parameters.rule.alpha,
        "k": inspection.parameters.k,
        "model": inspection.parameters.model,
        "seed": inspection.seed.to_hex(),
        "infer_ms": inspection.latency.infer_ms,
        "heat_map": heat_map,
    })
}
