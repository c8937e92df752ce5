//! `certiscope verify`: recomputes a stored verdict from its evidence and compares. The answer is a text or JSON, and an
//! exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::inspection_log::{OneArgs, StoreArgs, printable};
use super::{Failure, ProviderName, exit_code};
use crate::bundle::Bundle;
use crate::cli::output::{print_note, written};
use crate::config::all_cores;
use crate::detector::{Detector, Opened};
use crate::diffusion::onnx::{OnUnavailable, Runtime, SessionSettings};
use crate::evidence;
use crate::smoothing::StoppingState;
use crate::store::Record;
use crate::verification::{
    self, Circumstance, DrawingEnd, Finding, Outcome, VerificationModel, VerificationReport, VerificationStep,
};

/// Recompute a stored verdict from its evidence, and compare it step by step.
///
/// First names what has changed since then: library, provider, processor, threads, version. On the same machine and
/// with the same bundle every score must be the same bit for bit; elsewhere it must agree within the bundle's stored
/// tolerance. Exit code 0: everything agrees. 1: something differs. 75: some evidence is missing, and the rest agrees.
/// 78: it cannot be recomputed (no such inspection, another bundle, the model does not run).
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Folder of the bundle that gave the verdict [default: where it was then]
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Execution provider [default: the one that gave the verdict]
    #[arg(long, value_enum)]
    provider: Option<ProviderName>,
    /// Threads of one model call, 1 to 256 [default: as many as then]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    threads: Option<usize>,
    /// ONNX Runtime's library [default: $ORT_DYLIB_PATH, or where `make setup` puts it]
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
    /// Print the result as a JSON object instead of words
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let record = args.one.find(&state.log)?;
    let files = state.evidence(&record).and_then(|folder| evidence::files(&folder).ok());
    let inspection = &record.inspection;
    let (circumstances, report) = if verification::needs_model(inspection, files.as_ref()) {
        let bundle = bundle_of(&record, args)?;
        let (mut detector, opened) = open(&bundle, &record, args)?;
        let circumstances = verification::circumstances(&record, Some((&bundle, &opened.provider)));
        announce(&circumstances, args);
        let model = VerificationModel::new(&bundle, &mut detector).map_err(Failure::refused)?;
        (circumstances, verification::verify(inspection, files.as_ref(), Ok(&bundle), Some(model)))
    } else {
        let circumstances = verification::circumstances(&record, None);
        announce(&circumstances, args);
        // Much holds without the bundle; what needs it is reported as gone.
        let bundle = bundle_of(&record, args).map_err(|failure| match failure {
            Failure::Refused(error) | Failure::Stopped(error) => format!("{error:#}"),
        });
        let bundle = bundle.as_ref().map_err(String::as_str);
        (circumstances, verification::verify(inspection, files.as_ref(), bundle, None))
    };
    let text = if args.json {
        format!("{:#}", as_json(&record, &circumstances, &report))
    } else {
        in_words(&record, &report)
    };
    written(writeln!(io::stdout().lock(), "{text}"))?;
    Ok(match report.outcome() {
        Outcome::Bits | Outcome::Tolerance => ExitCode::SUCCESS,
        Outcome::Gone => ExitCode::from(exit_code::UNREACHABLE),
        Outcome::Different => ExitCode::from(exit_code::STOPPED),
    })
}

/// Loads the bundle that gave the verdict. Another bundle is refused, because its verdict may rightly differ.
fn bundle_of(record: &Record, args: &VerifyArgs) -> Result<Bundle, Failure> {
    let parameters = &record.inspection.parameters;
    let folder = args.bundle.as_ref().unwrap_or(&record.bundle_folder);
    let wanted = || {
        format!(
            "{} with a bundle.toml of sha256 {} is needed; looked in {}; give its folder with --bundle",
            parameters.model,
            if parameters.bundle_sha256.is_empty() { "(not recorded)" } else { &parameters.bundle_sha256 },
            folder.display()
        )
    };
    let bundle = Bundle::load(folder).with_context(wanted).map_err(Failure::Refused)?;
    // A log of the first version knows the hash of the model only.
    let same_bundle = parameters.bundle_sha256.is_empty() || parameters.bundle_sha256 == bundle.sha256;
    if same_bundle && parameters.model_sha256 == bundle.manifest.model.sha256 {
        return Ok(bundle);
    }
    Err(Failure::Refused(
        anyhow!("{} is another bundle, of sha256 {}", bundle.label(), bundle.sha256).context(wanted()),
    ))
}

/// Opens the model with the provider and the threads of then, unless the options name others.
fn open(bundle: &Bundle, record: &Record, args: &VerifyArgs) -> Result<(Detector, Opened), Failure> {
    let inspection = &record.inspection;
    let parameters = &inspection.parameters;
    let provider = match args.provider {
        Some(provider) => provider,
        None => ProviderName::from_str(&parameters.computation.provider, true).map_err(|_| {
            Failure::refused(anyhow!(
                "provider {}: unknown; give one with --provider",
                parameters.computation.provider
            ))
        })?,
    };
    let stored_threads = Some(parameters.computation.threads).filter(|threads| *threads > 0);
    let settings = SessionSettings {
        provider: provider.into(),
        on_unavailable: OnUnavailable::Refuse,
        threads: args.threads.or(stored_threads).unwrap_or_else(all_cores),
    };
    let runtime = Runtime::load(args.onnxruntime.as_deref()).map_err(Failure::refused)?;
    let largest_call = inspection.batches.iter().copied().max().unwrap_or(1);
    Detector::open(bundle, &runtime, &settings, largest_call)
        .with_context(|| {
            let provider = settings.provider.word();
            format!("provider {provider}: does not run here; choose another with --provider (the change is then reported)")
        })
        .map_err(Failure::Refused)
}

/// Prints what has changed since then, before anything is compared.
fn announce(circumstances: &[Circumstance], args: &VerifyArgs) {
    if args.json {
        return;
    }
    for Circumstance { what, stored, here } in circumstances {
        let stored = if stored.is_empty() { "not recorded" } else { stored };
        // Printed at once and to standard error, so that it is seen even if the model then fails.
        print_note!("certiscope: not as it was: {what}: {stored} then, {here} now");
    }
}

fn in_words(record: &Record, report: &VerificationReport) -> String {
    let inspection = &record.inspection;
    let reason =
        inspection.verdict.reason().map(|reason| format!(" ({})", reason.word())).unwrap_or_default();
    let part = inspection.part_id.as_deref().map_or("a part without a name".to_owned(), printable);
    let mut words = format!("{}: {}{reason}, {part}\n", record.result_id(), inspection.verdict.word());
    for (step, finding) in &report.steps {
        let (word, more) = found(finding);
        words += &format!("  {:28}  {word:16}  {more}", step_words(*step));
        words.truncate(words.trim_end().len());
        words.push('\n');
    }
    if let Some(ending) = report.ending {
        words += &format!("{}\n", ending_words(ending, record));
    }
    words
        + match report.outcome() {
            Outcome::Bits => "The verdict holds: recomputed bit for bit.",
            Outcome::Tolerance => "The verdict holds: recomputed within the stored tolerance.",
            Outcome::Gone => "Evidence is missing; what is there holds.",
            Outcome::Different => {
                "The verdict does NOT hold as stored: log, evidence or machine is not what it was."
            }
        }
}

fn step_words(step: VerificationStep) -> &'static str {
    match step {
        VerificationStep::Parameters => "parameters of the bundle",
        VerificationStep::FrameToInput => "frame to input",
        VerificationStep::FrameToFault => "frame to fault",
        VerificationStep::InputToScores => "input to scores",
        VerificationStep::StoredScoresToVerdict => "stored scores to verdict",
        VerificationStep::RecomputedScoresToVerdict => "recomputed scores to verdict",
    }
}

/// The word for the table, and the details behind it.
fn found(finding: &Finding) -> (&'static str, String) {
    match finding {
        Finding::Equal => ("ok", String::new()),
        Finding::Within { worst, tolerance } => {
            ("within tolerance", format!("differs by up to {worst:.1e}; {tolerance:.0e} is allowed"))
        }
        Finding::Gone(what) => ("gone", printable(what)),
        Finding::Different(what) => ("DIFFERENT", printable(what)),
    }
}

fn ending_words(ending: DrawingEnd, record: &Record) -> String {
    let inspection = &record.inspection;
    let draws = inspection.scores.len();
    let fault = inspection.fault.as_deref().map_or("unknown".to_owned(), printable);
    match ending {
        DrawingEnd::BadFrame => "No draw was made: the picture cannot be inspected.".to_owned(),
        DrawingEnd::Rule(StoppingState::Settled) => {
            format!("Drawing ended after {draws} draws: the target radius was reached.")
        }
        DrawingEnd::Rule(StoppingState::Hopeless) => {
            format!("Drawing ended after {draws} draws: the target radius was out of reach.")
        }
        DrawingEnd::Rule(_) => format!("Drawing ended after {draws} draws, the largest number allowed."),
        DrawingEnd::Deadline => format!(
            "Drawing ended after {draws} draws at the deadline of {} ms, which a recomputation cannot repeat; the stored certificate is what these draws prove.",
            super::or_dash(inspection.parameters.deadline_ms)
        ),
        DrawingEnd::NotANumber => {
            format!(
                "Drawing ended after {draws} draws with scores that are not numbers; nothing is certified then."
            )
        }
        DrawingEnd::CallFailed => format!(
            "Drawing ended after {draws} draws by a fault of the model that a recomputation need not repeat ({fault}); nothing is certified then."
        ),
    }
}

fn as_json(
    record: &Record,
    circumstances: &[Circumstance],
    report: &VerificationReport,
) -> serde_json::Value {
    let inspection = &record.inspection;
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|(step, finding)| {
            let (worst, tolerance) = match finding {
                Finding::Within { worst, tolerance } => (Some(worst), Some(tolerance)),
                _ => (None, None),
            };
            let (word, more) = found(finding);
            json!({ "step": step_words(*step), "finding": word, "words": more, "worst": worst, "tolerance": tolerance })
        })
        .collect();
    let circumstances: Vec<_> = circumstances
        .iter()
        .map(|Circumstance { what, stored, here }| json!({ "what": what, "stored": stored, "here": here }))
        .collect();
    json!({
        "result_id": record.result_id(),
        "station": record.station,
        "verdict": inspection.verdict.word(),
        "reason": inspection.verdict.reason().map(|reason| reason.word()),
        "not_as_it_was": circumstances,
        "steps": steps,
        "ending": report.ending.map(|ending| ending_words(ending, record)),
        "outcome": match report.outcome() {
            Outcome::Bits => "bits",
            Outcome::Tolerance => "tolerance",
            Outcome::Gone => "gone",
            Outcome::Different => "different",
        },
    })
}
