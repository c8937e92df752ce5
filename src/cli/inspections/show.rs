//! `certiscope inspections show`: prints one inspection in words that a technician understands.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::capture::file_names::on_one_line;
use crate::cli::inspection_log::{OneArgs, OpenedLog, StoreArgs, printable};
use crate::cli::local_time::local_zone;
use crate::cli::output::written;
use crate::cli::{Failure, or_dash, rounded_down, whole_file};
use crate::evidence;
use crate::inspection::Inspection;
use crate::smoothing::Certificate;
use crate::store::{DeliveryState, EvidenceKept, Record};
use crate::verdict::{Reason, Verdict};

/// Show one inspection in plain words, and where its pictures are.
///
/// Prints the verdict and why it was given, what the radius means, how it was computed, whether the broker has
/// acknowledged it, and where its evidence is. The numbers are shown even if the pictures were deleted or never kept.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Copy its pictures to this folder: the frame as captured, and its heat map
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

pub(super) fn show(args: &ShowArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let record = args.one.find(&state.log)?;
    let mut words = words(&record);
    let mut uncopied = Vec::new();
    words.push(pictures(&record, &state, args.pictures.as_deref(), &mut uncopied));
    let code = written(writeln!(io::stdout().lock(), "{}", words.join("\n\n")))?;
    match uncopied.as_slice() {
        [] => Ok(code),
        faults => Err(Failure::stopped(anyhow!("{}", faults.join("; ")))),
    }
}

/// All that is known without looking at the pictures.
pub(super) fn words(record: &Record) -> Vec<String> {
    let mut words = vec![heading(record), decision(&record.inspection)];
    words.extend(record.inspection.certificate.as_ref().map(|it| draws(it, &record.inspection)));
    words.push(computed_by(record));
    words.push(delivery(&record.delivery));
    words
}

fn heading(record: &Record) -> String {
    let inspection = &record.inspection;
    let mut words = format!(
        "{}\npart      {}\ncaptured  {} {} ({})\nstation   {}",
        record.result_id(),
        inspection.part_id.as_deref().map_or("without a name".to_owned(), printable),
        local_zone().show(inspection.captured_at),
        local_zone().name(),
        inspection.captured_at,
        printable(&record.station)
    );
    if let Some(recipe) = &inspection.parameters.recipe {
        words += &format!("\nrecipe    {}", printable(recipe));
    }
    words
}

/// The verdict, why, and what its radius means.
fn decision(inspection: &Inspection) -> String {
    let parameters = &inspection.parameters;
    let fault = inspection.fault.as_deref().map_or("no more is known".to_owned(), printable);
    let Verdict::Abstain(reason) = inspection.verdict else {
        return certified(inspection);
    };
    let why = match reason {
        Reason::Undecided => format!(
            "neither side could be certified: too many draws contradict each other for a verdict within {} draws.",
            parameters.rule.max_draws
        ),
        Reason::Deadline => format!(
            "the deadline of {} ms came before either side could be certified.",
            or_dash(parameters.deadline_ms)
        ),
        Reason::BadFrame => format!("the picture cannot be inspected. {fault}"),
        Reason::ModelFault => format!("the model failed, so its results do not count. {fault}"),
    };
    format!("ABSTAIN ({}): {why}\nThe line treats this as a reject.", reason.word())
}

fn certified(inspection: &Inspection) -> String {
    let parameters = &inspection.parameters;
    let (verdict, opposite) = match inspection.verdict {
        Verdict::Normal => {
            ("NORMAL: the part looks like the normal parts the model has learnt.", "anomalous")
        }
        _ => ("ANOMALOUS: the part looks unlike the normal parts the model has learnt.", "normal"),
    };
    let radius = inspection.certificate.as_ref().map_or(0.0, |certificate| certificate.radius);
    let mut words = format!(
        "{verdict}\nCertified radius {}: a change of the picture that is smaller than this (l2 norm over all values of the model input; spread evenly it is {} grey levels of 255 for each value) cannot turn the verdict into {opposite}, except with a probability of at most {}.",
        rounded_down(radius),
        or_dash(inspection.radius_grey().map(rounded_down)),
        parameters.rule.alpha
    );
    if let Some(frame) = inspection.frame_radius {
        words +=
            &format!("\nFor changes of the camera's picture the same is true below {}.", rounded_down(frame));
    }
    if inspection.verdict == Verdict::Normal {
        let reached = if radius >= parameters.required_radius { "reached" } else { "not reached" };
        words += &format!("\nRequired for a certified pass: {}, {reached}.", parameters.required_radius);
    }
    words
}

fn draws(certificate: &Certificate, inspection: &Inspection) -> String {
    let parameters = &inspection.parameters;
    let mut words = format!(
        "Score {} against threshold {}: the median of {} noisy draws ({} allowed); {} of them scored above the threshold.",
        or_dash(certificate.score),
        parameters.threshold,
        certificate.draws,
        parameters.rule.max_draws,
        certificate.above
    );
    if let (Some(lower), Some(upper)) = (certificate.score_lower, certificate.score_upper) {
        words += &format!(
            "\nThe true median lies between {lower} and {upper}; this is wrong with a probability of at most {}.",
            parameters.rule.alpha
        );
    }
    if certificate.not_a_number > 0 {
        words += &format!("\n{} scores are not numbers.", certificate.not_a_number);
    }
    if let Some(empirical) = inspection.empirical_score {
        words += &format!("\nThe paper's own score, which certifies nothing: {empirical}.");
    }
    words
}

fn computed_by(record: &Record) -> String {
    let parameters = &record.inspection.parameters;
    format!(
        "Computed in {:.0} ms by {} on {} ({}, {} threads), certiscope {}.\nBundle at that time: {}",
        record.inspection.latency.infer_ms,
        printable(&parameters.model),
        printable(&parameters.computation.provider),
        printable(&parameters.computation.precision),
        parameters.computation.threads,
        printable(&record.version),
        printable(&record.bundle_folder.to_string_lossy())
    )
}

fn delivery(delivery: &DeliveryState) -> String {
    match delivery {
        DeliveryState::Acknowledged => "The broker has acknowledged it.".to_owned(),
        DeliveryState::Waiting => {
            "The broker has not acknowledged it yet: it waits in the outbox.".to_owned()
        }
        DeliveryState::Refused { at, why } => format!(
            "The broker refused it ({}): {why}. It stays in the outbox and is tried again.",
            at.map_or("at an unknown time".to_owned(), |at| format!(
                "{} {}",
                local_zone().show(at),
                local_zone().name()
            )),
            why = printable(why)
        ),
    }
}

/// Where the pictures are, or why there are none. What could not be copied goes into `uncopied`.
fn pictures(
    record: &Record,
    state: &OpenedLog,
    copy_to: Option<&Path>,
    uncopied: &mut Vec<String>,
) -> String {
    const NUMBERS_STAND: &str = "The verdict and its numbers stand nevertheless.";
    let Some(folder) = state.evidence(record) else {
        let why = match (record.evidence_state, record.inspection.verdict) {
            (EvidenceKept::Removed, _) => "It was kept, but retention has removed it since.",
            (_, Verdict::Normal) => {
                "Of the normal parts, evidence is kept of a selection only ([evidence] keep)."
            }
            _ => "It could not be kept: the disk was low on space, or writing failed.",
        };
        return format!("No evidence. {why} {NUMBERS_STAND}");
    };
    let Ok(files) = evidence::files(&folder) else {
        return format!(
            "No evidence. The log names {}, but it is not there: something else than retention removed it. {NUMBERS_STAND}",
            folder.display()
        );
    };
    let mut words = format!("Evidence: {}", folder.display());
    let pictures = [("frame as captured", files.frame), ("heat map", files.heat_map)];
    for (what, file) in pictures.into_iter().filter_map(|(what, file)| Some((what, file?))) {
        let copy = copy_to.map(|folder| copied(&file, folder, &record.result_id()));
        let shown = match copy {
            Some(Ok(copy)) => copy,
            Some(Err(why)) => {
                uncopied.push(why);
                file
            }
            None => file,
        };
        words += &format!("\n  {what}: {}", shown.display());
    }
    words
}

/// Copies a picture under a name that no other inspection has. An error says what could not be written.
fn copied(file: &Path, folder: &Path, result_id: &str) -> Result<PathBuf, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let copy = folder.join(format!("{result_id}-{name}"));
    std::fs::create_dir_all(folder)
        .and_then(|()| whole_file::write(&copy, &std::fs::read(file)?))
        .map_err(|error| format!("--pictures: {}: cannot be written: {error}", on_one_line(&copy)))?;
    Ok(copy)
}
