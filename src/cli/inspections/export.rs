//! `certiscope inspections export`: the log as CSV or JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::row::Row;
use crate::cli::Failure;
use crate::cli::log::{FilterArgs, StoreArgs, written};
use crate::store::{LogError, Order};

/// Write inspections to a file or to standard output, oldest first, all columns.
///
/// Columns: who (boot_id, station, seq, result_id), what and when (captured_at in UTC, part_id, meas_id,
/// recipe), the decision (verdict, reason, fault, radius, frame_radius, radius_grey, score with its bounds,
/// empirical_score, threshold, draws, above, not_a_number), what was fixed beforehand (alpha, sigma, k,
/// target_radius, required_radius, max_draws, deadline_ms), by what it was computed (model, model_sha256,
/// bundle_sha256, provider, precision, onnxruntime, cpu, threads, version), for a recomputation (region,
/// frame_width, frame_height, seed, scores and batches parted by blanks), latencies in milliseconds, evidence
/// (kept, never or removed; folder and bytes), and whether the broker has it (acknowledged, waiting, refused).
/// What is not there is an empty field in CSV, null in JSON. Rows are read a page at a time, so any length will do.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// csv with a line of names, or jsonl: one JSON object a line
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// At most so many [default: all]
    #[arg(long)]
    limit: Option<usize>,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// Why not everything was written.
enum Broken {
    Log(LogError),
    Output(io::Error),
}

pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let records = state.log.records(args.filter.filter(), Order::OldestFirst);
    let rows = records.take(args.limit.unwrap_or(usize::MAX));
    let result = match &args.out {
        None => write(io::stdout().lock(), args.format, rows),
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("--out {}: cannot be written", path.display()))
                .map_err(Failure::refused)?;
            write(BufWriter::new(file), args.format, rows)
        }
    };
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Broken::Log(error)) => Err(Failure::refused(error)),
        Err(Broken::Output(error)) => written(Err(error)),
    }
}

fn write(
    out: impl Write,
    format: Format,
    records: impl Iterator<Item = Result<crate::store::Record, LogError>>,
) -> Result<(), Broken> {
    match format {
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            for record in records {
                csv.serialize(Row::from(&record.map_err(Broken::Log)?)).map_err(csv_broken)?;
            }
            csv.flush().map_err(Broken::Output)
        }
        Format::Jsonl => {
            let mut out = BufWriter::new(out);
            for record in records {
                let record = record.map_err(Broken::Log)?;
                let line =
                    serde_json::to_string(&Row::from(&record)).expect("a row is plain names and values");
                writeln!(out, "{line}").map_err(Broken::Output)?;
            }
            out.flush().map_err(Broken::Output)
        }
    }
}

fn csv_broken(error: csv::Error) -> Broken {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Broken::Output(error),
        other => Broken::Output(io::Error::other(format!("{other:?}"))),
    }
}
