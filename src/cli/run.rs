//! `certiscope run`: the agent as a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::stop_signals::stop_on_signals;
use super::{Failure, or_dash, rounded_down};
use crate::agent::{self, AgentError, Recorded, Stop, Summary};
use crate::capture::FrameSource;
use crate::cli::output::print_line;
use crate::config::Config;
use crate::status::DeliveryTime;

/// Run a station: capture, inspect, log and publish until stopped.
///
/// Runs until the source ends, or until SIGTERM, SIGHUP or SIGINT (Ctrl-C) arrives. Frames that were captured by then are
/// still inspected, logged and sent to the broker, within a time limit. A second Ctrl-C, at least half a second after the first,
/// ends the program at once; SIGTERM and SIGHUP may come again and change nothing. A signal that was ignored at the start, as
/// SIGHUP is under nohup, stays ignored. No log file is kept open, so log rotation needs no signal.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Configuration of the station (see config/)
    #[arg(long)]
    config: PathBuf,
}

pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let config = Config::read(&args.config).map_err(Failure::refused)?;
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let summary = run_agent(&config, &stop, log)?;
    print_line!("{}", in_words(&summary));
    Ok(ExitCode::SUCCESS)
}

/// Runs the agent. The failure says whether it refused to start or was stopped by a fault.
pub(super) fn run_agent(
    config: &Config,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, Failure> {
    agent::run(config, stop, observe).map_err(failure)
}

/// Like [`run_agent`], with a source that the caller gives.
pub(super) fn run_agent_on(
    config: &Config,
    source: Box<dyn FrameSource>,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, Failure> {
    agent::run_on(config, source, stop, observe).map_err(failure)
}

fn failure(error: AgentError) -> Failure {
    match error {
        AgentError::Refused(error) => Failure::Refused(error),
        AgentError::Stopped(error) => Failure::Stopped(error),
    }
}

fn log(recorded: &Recorded<'_>) {
    let inspection = recorded.inspection;
    let certificate = inspection.certificate.as_ref();
    tracing::info!(
        seq = recorded.seq,
        part = inspection.part_id.as_deref(),
        radius = or_dash(certificate.map(|certificate| rounded_down(certificate.radius))),
        draws = certificate.map_or(0, |certificate| certificate.draws),
        ms = inspection.latency.total_ms.round(),
        "{}{}",
        inspection.verdict.word(),
        inspection.fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default()
    );
}

pub(super) fn in_words(summary: &Summary) -> String {
    let Summary { normal, anomalous, abstained, dropped, unsent, delivery } = summary;
    let delivery = delivery
        .map(|DeliveryTime { verdicts, p50_ms, p99_ms }| {
            format!(
                "; from frame to broker {p50_ms:.1} ms (p50), {p99_ms:.1} ms (p99) over {verdicts} verdicts"
            )
        })
        .unwrap_or_default();
    format!(
        "{} inspected: {normal} normal, {anomalous} anomalous, {abstained} abstained; {dropped} frames dropped; {unsent} verdicts not yet acknowledged by the broker{delivery}",
        summary.inspected()
    )
}
