//! `certiscope evaluate`: how well a bundle detects, on a labelled folder, with intervals.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::frames::{self, Labelled, Pictures};
use super::{Failure, ModelArgs, load_bundle, progress_bar, write_json};
use crate::detector::Detector;
use crate::diffusion::noise::fresh_seed;
use crate::evaluation::{Bootstrap, Estimate, auroc};
use crate::smoothing::Ranked;

const BOOTSTRAP: Bootstrap = Bootstrap { replicates: 2000, confidence: 0.95, seed: 1 };

/// Measure a bundle on a labelled folder: image AUROC with intervals.
///
/// Image AUROC of both scores over a folder in the layout of MVTec AD (or any folder of class folders with
/// `good` among them), with bootstrap intervals over parts.
///
/// The certified score of a picture is the median over the bundle's n noisy draws and never sees the clean
/// picture; the empirical score is the paper's, against the clean picture, and carries no certificate.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Folder of the bundle
    #[arg(long)]
    bundle: PathBuf,
    /// Labelled folder; its test/ is used where it has one
    #[arg(long)]
    data: PathBuf,
    /// Draws per picture [default: the bundle's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    draws: Option<u32>,
    /// Every picture shows another part: do not look for near-duplicates when resampling
    #[arg(long)]
    distinct_parts: bool,
    /// Write all scores and figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// One scored picture.
struct Scored {
    name: String,
    kind: String,
    group: usize,
    certified: f32,
    empirical: f32,
}

pub(super) fn evaluate(args: &EvaluateArgs) -> Result<ExitCode, Failure> {
    let bundle = load_bundle(&args.bundle)?;
    let test = args.data.join("test");
    let folder = if test.is_dir() { test } else { args.data.clone() };
    let Pictures { pictures, unusable } = frames::read(&folder, bundle.input_shape(), args.distinct_parts)?;
    check_labels(&folder, &pictures)?;
    let draws = args.draws.unwrap_or(bundle.manifest.detector.draws);
    let (mut detector, _, _) = args.model.open(&bundle)?;
    let scored = score_all(&mut detector, &pictures, draws)?;
    let defects = scored.iter().filter(|s| s.kind != GOOD).count();

    let figures = |score: fn(&Scored) -> f32| -> BTreeMap<String, Option<Estimate>> {
        let mut kinds: Vec<&str> = scored.iter().map(|s| s.kind.as_str()).filter(|k| *k != GOOD).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let normal = parts(&scored, score, |kind| kind == GOOD);
        let against =
            |of: &dyn Fn(&str) -> bool| BOOTSTRAP.estimate(&normal, &parts(&scored, score, of), auroc);
        let mut figures: BTreeMap<_, _> =
            kinds.iter().map(|kind| ((*kind).to_owned(), against(&|k| k == *kind))).collect();
        figures.insert(ALL.to_owned(), against(&|kind| kind != GOOD));
        figures
    };
    let (certified, empirical) = (figures(|s| s.certified), figures(|s| s.empirical));
    println!(
        "{}: {} normal, {defects} defective, {} unusable; {} at {draws} draws a picture, {:.0} % bootstrap over parts",
        folder.display(),
        scored.len() - defects,
        unusable.len(),
        bundle.label(),
        100.0 * BOOTSTRAP.confidence
    );
    println!(
        "{:<16} {:>9}   {:<24} {:<24}",
        "image AUROC", "pictures", "certified (noisy draws)", "empirical (clean frame)"
    );
    for (kind, certified) in &certified {
        let count = scored.iter().filter(|s| s.kind != GOOD && (kind == ALL || s.kind == *kind)).count();
        println!("{kind:<16} {count:>9}   {:<24} {:<24}", in_words(certified), in_words(&empirical[kind]));
    }
    if let Some(file) = &args.json {
        let pictures: Vec<Value> = scored
            .iter()
            .map(|s| json!({"picture": s.name, "kind": s.kind, "part": s.group, "certified": s.certified, "empirical": s.empirical}))
            .collect();
        let report = json!({
            "bundle": bundle.label(), "model_sha256": bundle.manifest.model.sha256, "draws": draws,
            "k": bundle.level.k().0, "sigma": bundle.level.sigma(), "unusable": unusable,
            "confidence": BOOTSTRAP.confidence, "replicates": BOOTSTRAP.replicates,
            "image_auroc": {"certified": as_json(&certified), "empirical": as_json(&empirical)},
            "pictures": pictures,
        });
        write_json(file, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The row of all defects together.
const ALL: &str = "all";
/// The class of normal parts.
const GOOD: &str = "good";

/// Refuses what cannot be measured before time is spent on scoring it: an interval over parts needs two of each.
fn check_labels(folder: &Path, pictures: &[Labelled]) -> Result<(), Failure> {
    let (mut normal, mut defective) = (HashSet::new(), HashSet::new());
    for picture in pictures {
        let parts = if kind_of(picture)? == GOOD { &mut normal } else { &mut defective };
        parts.insert(picture.group);
    }
    if normal.len() >= 2 && defective.len() >= 2 {
        return Ok(());
    }
    Err(Failure::refused(anyhow!(
        "{}: {} normal and {} defective parts: at least 2 of each are needed, in class folders with `good` among them; look-alikes count as one part unless --distinct-parts is given",
        folder.display(),
        normal.len(),
        defective.len()
    )))
}

/// The class folder's name, `good` for a normal part.
fn kind_of(picture: &Labelled) -> Result<&str, Failure> {
    let words = "lies in no class folder; folders such as good/ and scratch/ are needed";
    match &picture.truth {
        Some(truth) if truth.is_defect() => Ok(&truth.kind),
        Some(_) => Ok(GOOD),
        None => Err(Failure::refused(anyhow!("{}: {words}", picture.name))),
    }
}

fn score_all(detector: &mut Detector, pictures: &[Labelled], draws: u32) -> Result<Vec<Scored>, Failure> {
    let bar = progress_bar(pictures.len() as u64, "scoring");
    let mut scored = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let seed = fresh_seed().map_err(Failure::stopped)?;
        let pairs = detector.reconstruct(&picture.input, seed, 0..draws).map_err(Failure::stopped)?;
        let scores = pairs.iter().map(|pair| detector.certified(pair).value());
        let certified = Ranked::new(scores).median().unwrap_or(f32::INFINITY);
        let empirical = detector.empirical(&picture.input, &pairs).value();
        scored.push(Scored {
            name: picture.name.clone(),
            kind: kind_of(picture)?.to_owned(),
            group: picture.group,
            certified,
            empirical,
        });
        bar.inc(1);
    }
    bar.finish();
    Ok(scored)
}

/// The scores of some kinds, the pictures of one part together.
fn parts(scored: &[Scored], score: fn(&Scored) -> f32, of: impl Fn(&str) -> bool) -> Vec<Vec<f32>> {
    let mut parts: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for picture in scored.iter().filter(|picture| of(&picture.kind)) {
        parts.entry(picture.group).or_default().push(score(picture));
    }
    parts.into_values().collect()
}

fn in_words(estimate: &Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |e| format!("{:.3} ({:.3} to {:.3})", e.value, e.lower, e.upper))
}

fn as_json(figures: &BTreeMap<String, Option<Estimate>>) -> Value {
    figures
        .iter()
        .map(|(kind, estimate)| {
            (
                kind.clone(),
                estimate.map(|e| json!({"value": e.value, "lower": e.lower, "upper": e.upper})).into(),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
