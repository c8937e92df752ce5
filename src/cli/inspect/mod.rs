//! `certiscope inspect`: inspects single pictures, by the same code as `run`.
//!
//! Guarantees: writes no file unless `--heat-maps` names a folder for them. Each verdict is printed as it comes. A heat map that
//! cannot be written, and a folder that cannot be read, are named; all other pictures are inspected, and the exit code is 1.

mod heat_map_file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use self::heat_map_file::HeatMapFolder;
use super::{Failure, ModelArgs, load_bundle, or_dash, rounded_down};
use crate::agent::decode_limits;
use crate::capture::file_names::{on_one_line, text_of};
use crate::capture::{Frame, folder};
use crate::cli::output::{is_closed, print_line, print_note};
use crate::diffusion::seed::fresh_seed;
use crate::heat_map::heat_beside_frame;
use crate::inspection::{Inspection, InspectorSettings};
use crate::inspector::{Inspected, Inspector};
use crate::pulse::Pulse;
use crate::smoothing::RuleSettings;

/// Inspect single pictures: verdict, radius and scores, and on request a heat map.
///
/// Each picture gets one verdict, which is printed as it comes. A picture that cannot be read gets `abstain`, with the reason.
/// Of a folder all pictures in it and below it are inspected. No file is written unless --heat-maps is given. A heat map that
/// cannot be written is named, and the exit code is 1 at the end.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Pictures (PNG, JPEG, BMP, TIFF), turned as their orientation (EXIF) says; or folders of pictures
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
    /// Print the results as a JSON array instead of text, each as it comes
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
    let (pictures, unreadable) = pictures(&args.images);
    let mut heat_maps = args.heat_maps.as_deref().map(|folder| HeatMapFolder::new(folder, &pictures));
    let mut unwritten = Vec::new();
    let limits = decode_limits(Some(&bundle), None);
    if args.json {
        print_line!("[");
    }
    for (at, path) in pictures.iter().enumerate() {
        // Nobody reads the verdicts any more, and nothing else is made.
        if is_closed() && heat_maps.is_none() {
            break;
        }
        let frame = folder::read_frame(path, at as u64 + 1, limits);
        let seed = fresh_seed().map_err(Failure::stopped)?;
        let inspected = inspector.inspect(&mut detector, &Pulse::default(), &frame, seed, Instant::now());
        let heat_map = heat_maps.as_mut().and_then(|files| write_heat_map(files, path, &frame, &inspected));
        let inspection = &inspected.inspection;
        if args.json {
            let comma = if at + 1 < pictures.len() { "," } else { "" };
            print_line!("{}{comma}", indented(&as_json(path, inspection, heat_map.as_ref())));
        } else {
            print_line!("{}", in_words(path, inspection, heat_map.as_ref()));
        }
        unwritten.extend(heat_map.and_then(Result::err));
    }
    if args.json {
        print_line!("]");
    }
    let mut faults = Vec::new();
    if unreadable > 0 {
        faults.push(format!("{unreadable} of the folders could not be read"));
    }
    if let [first, ..] = unwritten.as_slice() {
        faults.push(format!(
            "the heat maps of {} of {} pictures could not be written; the first: {first}",
            unwritten.len(),
            pictures.len()
        ));
    }
    match faults.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        faults => Err(Failure::stopped(anyhow!("{}", faults.join("; ")))),
    }
}

/// The pictures to inspect: those that are named, and those of the folders that are named. Also how many folders give none.
fn pictures(named: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut pictures, mut unreadable) = (Vec::new(), 0);
    for path in named {
        if !path.is_dir() {
            pictures.push(path.clone());
            continue;
        }
        match folder::picture_files(path) {
            Ok((found, left_out)) => {
                pictures.extend(found);
                if !left_out.is_empty() {
                    print_note!("{}: {left_out}", on_one_line(path));
                }
            }
            Err(error) => {
                unreadable += 1;
                print_note!("certiscope: {error}");
            }
        }
    }
    (pictures, unreadable)
}

/// Draws the heat map of a picture, if there is one. The result is its file, or why it could not be written.
fn write_heat_map(
    files: &mut HeatMapFolder,
    path: &Path,
    frame: &Frame,
    inspected: &Inspected,
) -> Option<Written> {
    let pixels = frame.picture.as_ref().ok()?;
    let heat = inspected.heat_map.as_ref()?;
    let drawn = heat_beside_frame(pixels, heat, inspected.inspection.parameters.threshold);
    Some(files.write(path, drawn))
}

/// What became of a heat map: its file, or why it could not be written.
type Written = Result<PathBuf, String>;

fn in_words(path: &Path, inspection: &Inspection, heat_map: Option<&Written>) -> String {
    let mut words = format!("{}: {}", on_one_line(path), inspection.verdict.word());
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
    match heat_map {
        Some(Ok(file)) => words += &format!("\n  heat map {}", on_one_line(file)),
        Some(Err(why)) => words += &format!("\n  no heat map: {why}"),
        None => {}
    }
    words
}

/// An element of the array, set in as the array is.
fn indented(result: &serde_json::Value) -> String {
    format!("  {}", format!("{result:#}").replace('\n', "\n  "))
}

fn as_json(path: &Path, inspection: &Inspection, heat_map: Option<&Written>) -> serde_json::Value {
    let certificate = inspection.certificate.as_ref();
    let certified = certificate.filter(|certificate| certificate.side.is_some());
    json!({
        "picture": text_of(path),
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
        "heat_map": heat_map.and_then(|written| written.as_ref().ok()).map(text_of),
        "heat_map_fault": heat_map.and_then(|written| written.as_ref().err()),
    })
}
