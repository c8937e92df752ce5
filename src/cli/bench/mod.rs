//! `certiscope bench`: measures how fast this machine runs a bundle, in figures to compare with other machines.
//!
//! It measures three things: throughput (the agent compared with a bare loop of model calls, in turns), the time of a
//! commit with and without its sync, and starts of the program (time to the first verdict, memory).
//! Guarantees: the agent is the real one, with its capture, evidence and inspection log on the disk of the scratch
//! folder. A figure that was measured more than once is given with its least and its largest value. All files are
//! removed again, also after Ctrl-C.
//! Leaves out: the broker (no program listens at the port, so verdicts stay in the outbox, as in an outage) and the
//! camera (frames are in memory, decoded).

mod report;
mod startup;
mod subject;
mod throughput;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tempfile::TempDir;

use super::stop_signals::stop_on_signals;
use super::{Failure, ModelArgs, progress_bar};
use crate::agent::Stop;
use crate::cli::output::print_line;
use crate::inspection::Inspection;
use crate::publish::json_output;
use crate::store::CommitTrial;
use report::{BenchReport, CommitTimes};
use subject::{Subject, Watch};

/// Measure this machine: model evaluations a second, memory, time to the first verdict.
///
/// Measures three things. Throughput: the agent inspects simulated parts from memory, in turns with a bare loop of
/// model calls of the same batch, threads and session settings; their ratio shows what everything around the model
/// costs. Commits to the inspection log: with and without a sync to the disk. Starts of the program: the time to the
/// first verdict, and the memory. No broker is used.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Folder of a calibrated bundle [default: the demo's, where it is built in]
    #[arg(long, required = cfg!(not(feature = "demo")))]
    bundle: Option<PathBuf>,
    /// Seconds for the throughput, half of them for the bare loop; the other measurements add about a third
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Folder on the disk to measure; what is written there is removed again [default: the system's
    /// temporary folder, which may be memory]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Print the figures as JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// How many times the program is started, because a single start says little.
const STARTS: u64 = 3;
/// The largest number of pairs of commits, and the share of the time that they may take on a slow disk.
const COMMITS: u64 = 300;
const COMMITS_SHARE: f64 = 1.0 / 6.0;

pub(super) fn bench(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let interrupted = Stop::default();
    stop_on_signals(&interrupted)?;
    let scratch = scratch(args.scratch.as_deref()).map_err(Failure::refused)?;
    let subject = Subject::of(args.bundle.as_deref(), &args.model, scratch.path())?;
    let load_before = report::load();
    let length = Duration::from_secs(args.seconds);
    let turns = throughput::Turns::within(length);
    let bar = progress_bar(2 * turns.rounds + COMMITS + STARTS, "");
    let watch = Watch { interrupted: &interrupted, bar: &bar };

    let throughput = throughput::measure(&subject, scratch.path(), turns, &watch)?;
    let limit = length.mul_f64(COMMITS_SHARE);
    let commits = time_commits(scratch.path(), &throughput.sample, limit, &watch)?;
    bar.set_message("starts");
    let starts = (1..=STARTS)
        .map(|start| {
            let lasting = if start == STARTS { length / 3 } else { Duration::ZERO };
            let folder = scratch.path().join(format!("start-{start}"));
            let started = startup::measure(&subject, &folder, lasting, &watch);
            bar.inc(1);
            started
        })
        .collect::<Result<Vec<_>, _>>()?;
    bar.finish_and_clear();

    let report =
        BenchReport { subject: &subject, load_before, scratch: scratch.path(), throughput, commits, starts };
    if args.json {
        print_line!("{:#}", report.as_json());
    } else {
        print_line!("{}", report.to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn scratch(folder: Option<&Path>) -> anyhow::Result<TempDir> {
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
    tempfile::Builder::new()
        .prefix("certiscope-bench-")
        .tempdir_in(&folder)
        .with_context(|| format!("{}: give a writable folder with --scratch", folder.display()))
}

/// Times commits of an inspection like `sample`, in pairs with and without a sync.
fn time_commits(
    scratch: &Path,
    sample: &Inspection,
    limit: Duration,
    watch: &Watch<'_>,
) -> Result<CommitTimes, Failure> {
    watch.bar.set_message("commits");
    let mut trial = CommitTrial::open(scratch, sample, &json_output::encode).map_err(Failure::stopped)?;
    let mut times = CommitTimes::default();
    let begun = Instant::now();
    for _ in 0..COMMITS {
        watch.go_on()?;
        let (synced, unsynced) = trial.commit_both().map_err(Failure::stopped)?;
        times.synced.push(synced);
        times.unsynced.push(unsynced);
        watch.bar.inc(1);
        if begun.elapsed() > limit {
            break;
        }
    }
    Ok(times)
}
