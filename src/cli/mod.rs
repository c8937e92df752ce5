//! The command line: one file a command, parsed here, with the exit codes that scripts and systemd rely on.
//!
//! 0 done; 1 stopped by a fault while running (systemd starts it again); 2 wrong usage; 75 something is
//! not reachable right now; 78 refused to start (wrong configuration, bundle or library: starting again
//! cannot help).

mod bench;
mod calibrate;
mod cameras;
mod check;
mod collect;
#[cfg(feature = "demo")]
mod demo;
mod evaluate;
mod export_messages;
mod frames;
mod generate;
mod inspect;
mod inspection_log;
mod inspections;
mod run;
mod simulate;
mod source_note;
mod verify;

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bundle::Bundle;
use crate::config::all_cores;
use crate::detector::{Detector, Opened};
use crate::diffusion::onnx::{OnUnavailable, Provider, Runtime, SessionSettings};

const AFTER_HELP: &str = "\
From nothing to a running station (B is a bundle, such as models/bundles/magnetic-tile):
  certiscope demo                                   watch it work, nothing needed
  certiscope inspect --bundle B tile.jpg            verdict and heat map of a picture
  certiscope cameras                                which cameras there are, and what they can do
  certiscope collect --config station.toml --count 150 --out DIR    pictures of good parts
  certiscope calibrate --bundle B --normal DIR      threshold for your parts; writes B-v2
  certiscope check --config station.toml            what is right, what is wrong, what to do
  certiscope run --config station.toml              inspect, log, publish

A defect escaped (S is the station's state folder):
  certiscope inspections list --store S --part 'lot-7/*' --from 1d     what was decided
  certiscope inspections show ID --store S --pictures .     why, in plain words, and the pictures
  certiscope verify ID --store S                    computed again, does it hold?

Training and exporting a model for your own parts: see models/README.md.
Exit codes: 0 done, 1 stopped by a fault, 2 wrong usage, 75 not reachable now, 78 refused to start.
The log level is set by RUST_LOG (error, warn, info, debug).";

/// Streaming edge inspection whose verdicts carry a certified radius.
///
/// Each part gets a verdict (normal, anomalous or abstain) and a radius: no change of the frame smaller
/// than it, not even a malicious one, can turn the verdict into its opposite (but for a probability
/// alpha that you set).
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// No comments on these: they would take the place of those on the arguments in each command's help.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    Inspect(inspect::InspectArgs),
    Collect(collect::CollectArgs),
    Calibrate(calibrate::CalibrateArgs),
    Evaluate(evaluate::EvaluateArgs),
    Cameras(cameras::CamerasArgs),
    Check(check::CheckArgs),
    Simulate(simulate::SimulateArgs),
    Inspections(inspections::InspectionsArgs),
    Export(export_messages::ExportMessagesArgs),
    Verify(verify::VerifyArgs),
    Bench(bench::BenchArgs),
    Generate(generate::GenerateArgs),
}

impl Command {
    /// What is logged unless RUST_LOG says otherwise. The demo's embedded broker tells of itself what only its own
    /// developers can use, at every level; a measurement has no broker and needs none.
    fn log(&self) -> &'static str {
        match self {
            Self::Bench(_) => "warn,certiscope::publish=off",
            _ => "info,ort=warn,rumqttd=off",
        }
    }
}

/// How a command failed: what its exit code says.
#[derive(Debug)]
enum Failure {
    /// Exit 78: starting again cannot help.
    Refused(anyhow::Error),
    /// Exit 1: stopped while running.
    Stopped(anyhow::Error),
}

impl Failure {
    fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self::Refused(error.into())
    }

    fn stopped(error: impl Into<anyhow::Error>) -> Self {
        Self::Stopped(error.into())
    }
}

/// Parses the arguments, runs the command, tells the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.command.log());
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Collect(args) => collect::collect(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Evaluate(args) => evaluate::evaluate(&args),
        Command::Cameras(args) => cameras::cameras(&args),
        Command::Check(args) => check::check(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Inspections(args) => inspections::inspections(&args),
        Command::Export(args) => export_messages::export(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Generate(args) => generate::generate(&args),
    };
    let (code, error) = match result {
        Ok(code) => return code,
        Err(Failure::Refused(error)) => (78, error),
        Err(Failure::Stopped(error)) => (1, error),
    };
    eprintln!("certiscope: {error:#}");
    ExitCode::from(code)
}

/// Logs to standard error.
fn start_log(log: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // No colours into a journal.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    end_on_panic();
}

/// From now on a panic in any thread is logged and ends the process: a thread must not die unseen while the others
/// go on, and whoever started the process starts it again.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        tracing::error!(thread = name, "panic: {panic}");
        // Said without the log too, which may be what panicked.
        eprintln!("certiscope: panic in thread {name}: {panic}");
        std::process::abort();
    }));
}

/// Where and how the model runs.
#[derive(Debug, Args)]
struct ModelArgs {
    /// Execution provider
    #[arg(long, value_enum, default_value = "cpu")]
    provider: ProviderName,
    /// Use the processor when the provider cannot run (else: refuse)
    #[arg(long)]
    or_cpu: bool,
    /// Threads of one model call, 1 to 256 [default: all cores]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    threads: Option<usize>,
    /// Draws per model call
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// ONNX Runtime's library [default: $ORT_DYLIB_PATH, or where `make setup` puts it]
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProviderName {
    Cpu,
    Cuda,
    Tensorrt,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Cpu => Self::Cpu,
            ProviderName::Cuda => Self::Cuda,
            ProviderName::Tensorrt => Self::TensorRt,
        }
    }
}

impl ModelArgs {
    /// Loads the runtime and opens the bundle's model, self-tested; a fallback is told on standard error.
    fn open(&self, bundle: &Bundle) -> Result<(Detector, Opened, Runtime), Failure> {
        let runtime = self.runtime()?;
        let (detector, opened) =
            Detector::open(bundle, &runtime, &self.settings(), self.batch).map_err(Failure::refused)?;
        warn_of_fallback(&opened);
        Ok((detector, opened, runtime))
    }

    fn runtime(&self) -> Result<Runtime, Failure> {
        Runtime::load(self.onnxruntime.as_deref()).map_err(Failure::refused)
    }

    fn settings(&self) -> SessionSettings {
        SessionSettings {
            provider: self.provider.into(),
            on_unavailable: if self.or_cpu { OnUnavailable::Cpu } else { OnUnavailable::Refuse },
            threads: self.threads.unwrap_or_else(all_cores),
        }
    }
}

/// No provider is replaced in silence.
fn warn_of_fallback(opened: &Opened) {
    let provider = &opened.provider;
    if let Some(reason) = &provider.reason {
        tracing::warn!("{} asked for, {} runs: {reason}", provider.requested.word(), provider.active.word());
    }
}

fn load_bundle(folder: &Path) -> Result<Bundle, Failure> {
    Bundle::load(folder).map_err(Failure::refused)
}

fn progress_bar(length: u64, what: &'static str) -> ProgressBar {
    let style = "{msg:14} {wide_bar} {human_pos}/{human_len} {elapsed} (still {eta})";
    ProgressBar::new(length)
        .with_style(ProgressStyle::with_template(style).expect("the template is a constant"))
        .with_message(what)
}

/// A radius for a person: never more than what is certified.
fn rounded_down(radius: f64) -> f64 {
    (radius * 1e4).floor() / 1e4
}

/// A number, or a dash where there is none.
fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
