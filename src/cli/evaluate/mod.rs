//! `certiscope evaluate`: measures how well a bundle detects defects in labelled pictures, with confidence intervals.
//!
//! The steps: find the layout of the folders ([`crate::evaluation::layout`]), compute the scores ([`measure`]) or reuse
//! those of an earlier run ([`kept`]), compute the [`mod@figures`], and write a table, `report.json` and a page ([`page`]).
//! Guarantees: the same pictures, bundle, draws and seed give the same figures. Every picture that was left out is
//! named in table, JSON and page. The table is printed also if a file cannot be written; the exit code is 1 then.

mod figures;
mod json;
mod kept;
mod masks;
mod measure;
mod page;
mod report;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use self::figures::{BOOTSTRAP, figures, rows};
use self::kept::KeptScores;
use self::measure::{MeasuredCategory, Measuring};
use self::report::EvaluationReport;
use self::table::print_table;
use super::part_from::PartFrom;
use super::{Failure, ModelArgs, load_bundle, progress_bar, whole_file};
use crate::bundle::{Bundle, MANIFEST};
use crate::capture::file_names::on_one_line;
use crate::cli::output::print_line;
use crate::evaluation::layout::{self, Category, DataSet, GOOD, LeftOut};
use crate::machine::cpu_name;

/// Measure how well a bundle detects defects in labelled pictures.
///
/// Computes image AUROC, AUPR and F1-max for each kind of defect, pixel AUROC and AU-PRO (0.3) where masks exist,
/// certified AUC over radii, and false alarms, misses and abstentions at the bundle's threshold, with bootstrap
/// intervals over parts. The layout of the folders is detected: MVTec AD, MVTec AD 2, MVTec LOCO AD, VisA, BTAD, or class
/// folders of which one is called `good` or `ok`. A folder of several such folders gives a row for each, and their mean.
///
/// Pictures on which a station would abstain because they are not of the kind that the bundle was calibrated with are named,
/// counted, and left out of every figure.
///
/// The certified score of a picture is the median over n noisy draws and never sees the clean
/// picture; the empirical score is the paper's, against the clean picture, and carries no certificate.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Folder of the bundle, or a folder with a bundle for each category, in a folder of the category's name
    #[arg(long)]
    bundle: PathBuf,
    /// Labelled pictures: one category, or a folder of categories
    #[arg(long)]
    data: PathBuf,
    /// Folder for report.json, report.html and the scores; give the same folder again to go on after an interruption
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Draws per picture [default: the bundle's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    draws: Option<u32>,
    /// Failure probability of the certificate of one picture
    #[arg(long, default_value_t = 0.001)]
    alpha: f64,
    /// The same seed gives the same noise to the same picture
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every picture shows another part: do not look for near-duplicates when resampling
    #[arg(long)]
    distinct_parts: bool,
    /// Names tell the part: the first group of this regular expression in a picture's path below its folder, or `folder` for its
    /// sub-folder [default: near-identical pictures show one part]
    #[arg(long, value_name = "REGEX|folder", value_parser = PartFrom::parse, conflicts_with = "distinct_parts")]
    part_from: Option<PartFrom>,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn evaluate(args: &EvaluateArgs) -> Result<ExitCode, Failure> {
    let DataSet { categories, mut left_out } = layout::find(&args.data).map_err(Failure::refused)?;
    let categories = with_both_classes(&args.data, categories, &mut left_out)?;
    let bundles = bundles_for(&args.bundle, &categories)?;
    let mut kept = args.out.as_deref().map(KeptScores::open).transpose().map_err(Failure::refused)?;

    let (mut reports, mut measured_all, mut provider) = (Vec::new(), Vec::new(), String::new());
    let mut unkept = Vec::new();
    let bar = progress_bar(categories.iter().map(|category| category.pictures.len() as u64).sum(), "scoring");
    for (category, bundle) in categories.into_iter().zip(&bundles) {
        let draws = args.draws.unwrap_or(bundle.manifest.detector.draws);
        let measuring = Measuring {
            bundle,
            draws,
            seed: args.seed,
            distinct_parts: args.distinct_parts,
            part_from: args.part_from.as_ref(),
        };
        let (mut detector, opened, _) = args.model.open(bundle)?;
        provider = format!("{}, {}", opened.provider.active.word(), opened.provider.onnxruntime);
        let mut measured = measuring.category(category, &mut detector, &mut kept, &bar)?;
        unkept.append(&mut measured.unkept);
        if let Some(why) = lacks_a_class(measured.pictures.iter().map(|p| p.listed.kind.as_str())) {
            left_out.push(LeftOut::new(&measured.name, format!("of what can be read, {why}")));
            left_out.extend(measured.left_out);
            continue;
        }
        reports.push(figures(&measured, bundle, draws, args.alpha, args.seed)?);
        measured_all.push(measured);
    }
    bar.finish();
    if reports.is_empty() {
        return Err(nothing_left(&args.data, &left_out));
    }

    let report = EvaluationReport {
        format: 1,
        program: format!("certiscope {}", env!("CARGO_PKG_VERSION")),
        made_at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        machine: cpu_name(),
        provider,
        confidence: BOOTSTRAP.confidence,
        replicates: BOOTSTRAP.replicates,
        table: rows(&reports),
        categories: reports,
        left_out,
    };
    print_table(&report);
    let mut faults = Vec::new();
    if let [first, ..] = unkept.as_slice() {
        faults.push(format!("the scores of {} pictures could not be kept; the first: {first}", unkept.len()));
    }
    if let (Some(out), Some(kept)) = (&args.out, &kept) {
        faults.extend(write(out, &report, &measured_all, kept));
    }
    match faults.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        faults => Err(Failure::stopped(anyhow!("{}", faults.join("; ")))),
    }
}

/// The categories that can be measured. The others are named; it is an error if none is left.
fn with_both_classes(
    data: &Path,
    categories: Vec<Category>,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<Category>, Failure> {
    let mut usable = Vec::new();
    for category in categories {
        match lacks_a_class(category.pictures.iter().map(|listed| listed.kind.as_str())) {
            None => usable.push(category),
            Some(why) => {
                left_out.push(LeftOut::new(&category.name, why));
                left_out.extend(category.left_out);
            }
        }
    }
    if usable.is_empty() {
        return Err(nothing_left(data, left_out));
    }
    Ok(usable)
}

fn nothing_left(data: &Path, left_out: &[LeftOut]) -> Failure {
    let words: Vec<String> = left_out.iter().map(|left| format!("{}: {}", left.name, left.why)).collect();
    Failure::refused(anyhow!("data: {}: {}", data.display(), words.join("\n  ")))
}

/// Why pictures of these kinds cannot be measured.
fn lacks_a_class<'a>(kinds: impl Iterator<Item = &'a str>) -> Option<String> {
    let (normal, defective): (Vec<&str>, Vec<&str>) = kinds.partition(|kind| *kind == GOOD);
    (normal.is_empty() || defective.is_empty()).then(|| {
        format!(
            "{} normal and {} defective pictures; at least 1 of each is needed, in class folders with `good` or `ok` among them",
            normal.len(),
            defective.len()
        )
    })
}

/// One bundle for all categories, or the bundle named like each category.
fn bundles_for(folder: &Path, categories: &[Category]) -> Result<Vec<Bundle>, Failure> {
    if folder.join(MANIFEST).is_file() || !folder.is_dir() {
        let bundle = load_bundle(folder)?;
        return Ok(vec![bundle; categories.len()]);
    }
    let missing: Vec<&str> = categories
        .iter()
        .map(|category| category.name.as_str())
        .filter(|name| !folder.join(name).join(MANIFEST).is_file())
        .collect();
    if !missing.is_empty() {
        return Err(Failure::refused(anyhow!(
            "--bundle {}: no bundle for {}; give a bundle, or a folder with a bundle for each category, named like it",
            folder.display(),
            missing.join(", ")
        )));
    }
    categories.iter().map(|category| load_bundle(&folder.join(&category.name))).collect()
}

/// Writes the report, and the page also if the report cannot be written. Returns what could not be written.
fn write(
    out: &Path,
    report: &EvaluationReport,
    measured: &[MeasuredCategory],
    kept: &KeptScores,
) -> Vec<String> {
    let written = |name: &str, text: String| {
        let file = out.join(name);
        match whole_file::write(&file, text.as_bytes()) {
            Ok(()) => print_line!("written: {}", on_one_line(&file)),
            Err(error) => return Some(format!("{}: cannot be written: {error}", on_one_line(&file))),
        }
        None
    };
    let json = serde_json::to_string_pretty(report).expect("a report is always text");
    let page = page::page(report, measured, kept);
    [written("report.json", json + "\n"), written("report.html", page)].into_iter().flatten().collect()
}
