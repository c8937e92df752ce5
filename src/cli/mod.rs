//! The command line: parses the arguments and runs the command. Each command is a file or a folder beside this one.

mod bench;
mod calibrate;
mod cameras;
mod check;
mod collect;
#[cfg(feature = "demo")]
mod demo;
mod display;
mod evaluate;
mod exit_code;
mod export_messages;
mod frames;
mod full_scale;
mod generate;
mod inspect;
mod inspection_log;
pub(crate) mod inspections;
mod journal;
mod line_thread;
mod local_time;
mod model_args;
mod output;
mod part_from;
mod run;
mod simulate;
mod source_note;
mod stop_signals;
mod verify;
mod whole_file;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::diffusion::onnx::forbid_telemetry;

pub(in crate::cli) use display::{or_dash, progress_bar, rounded_down};
pub(in crate::cli) use exit_code::Failure;
pub use journal::end_on_panic;
pub(in crate::cli) use model_args::{ModelArgs, ProviderName, load_bundle};

const AFTER_HELP: &str = "\
From nothing to a running station (B is a bundle, such as models/bundles/magnetic-tile):
  certiscope demo                                   watch it work; needs nothing else
  certiscope inspect --bundle B tile.jpg            verdict; with --heat-maps DIR also a heat map
  certiscope cameras                                list the cameras and what they can do
  certiscope collect --config station.toml --count 150 --out DIR    pictures of good parts
  certiscope calibrate --bundle B --normal DIR      find the threshold for your parts; writes B-v2
  certiscope check --config station.toml            say what is right, what is wrong and what to do
  certiscope run --config station.toml              inspect, log, publish

When a defect was missed (S is the state folder of the station):
  certiscope inspections list --store S --part 'lot-7/*' --from 1d     the verdicts
  certiscope inspections show ID --store S --pictures .     the reasons, and the pictures
  certiscope verify ID --store S                    compute the verdict again and compare

Training and exporting a model for your own parts: see models/README.md.
Exit codes: 0 done, 1 stopped by a fault, 2 wrong usage, 75 not reachable now, 78 refused to start.
RUST_LOG sets what is logged to standard error (error, warn, info, debug).";

/// Streaming edge inspection whose verdicts carry a certified radius.
///
/// Each part gets a verdict (normal, anomalous or abstain) and a certified radius. No change of the picture that is
/// smaller than the radius, not even a malicious one, can turn the verdict into its opposite. The probability
/// that a certificate is wrong is at most alpha, which you set.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// No doc comments here: they would replace those of the arguments in each command's help.
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
    /// Whether parts are inspected on a line that does not wait for the readers of what is printed.
    fn inspects_parts(&self) -> bool {
        match self {
            Self::Run(_) => true,
            #[cfg(feature = "demo")]
            Self::Demo(_) => true,
            _ => false,
        }
    }

    /// What is logged if RUST_LOG is not set. `rumqttd`, the demo's embedded broker, is left out, because its messages
    /// help only its developers. `bench` runs without a broker on purpose, so nothing is logged about a missing one.
    fn usual_journal(&self) -> &'static str {
        match self {
            Self::Bench(_) => "warn,certiscope::publish=off",
            _ => "info,ort=warn,rumqttd=off",
        }
    }
}

/// Parses the arguments, runs the command, ends the process.
pub fn main() -> ! {
    forbid_telemetry(); // before any thread is started
    stop_signals::outlive_file_limits();
    let code = match Cli::try_parse() {
        Ok(cli) => output::exit_code(run_command(cli.command)),
        Err(said) => output::usage(&said),
    };
    output::flush_notes();
    // Not by `exit`: its cleaning up would end libraries under threads that still use them, such as a model call that hangs. Then
    // calls fail that did not fail, or the process crashes. Everything that has to be closed is closed by now.
    let code = (0..=u8::MAX).find(|&number| ExitCode::from(number) == code).unwrap_or(exit_code::STOPPED);
    signal_hook::low_level::exit(code.into())
}

fn run_command(command: Command) -> Result<ExitCode, Failure> {
    if command.inspects_parts() {
        output::never_wait();
    }
    journal::start_journal(command.usual_journal());
    match command {
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
        Command::Generate(args) => generate::generate(&args, &Cli::command()),
    }
}
