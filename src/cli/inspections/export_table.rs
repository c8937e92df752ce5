//! `certiscope inspections export`: writes the inspection log as CSV or as JSON lines.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::row::InspectionRow;
use crate::cli::Failure;
use crate::cli::inspection_log::{FilterArgs, StoreArgs};
use crate::cli::output::{print_note, written};
use crate::cli::whole_file::WholeFile;
use crate::store::{LogError, Order};

/// Write inspections as CSV or JSON lines, oldest first, with all columns.
///
/// Columns: name of the inspection (boot_id, station, seq, result_id), part and time (captured_at in UTC, part_id,
/// meas_id, recipe), verdict (verdict, reason, fault, radius, frame_radius, radius_grey, score with its bounds,
/// empirical_score, threshold, draws, above, not_a_number), settings (alpha, sigma, k, target_radius, required_radius,
/// max_draws, deadline_ms), what computed it (model, model_sha256, bundle_sha256, provider, precision, onnxruntime,
/// cpu, threads, version), what a recomputation needs (region, frame_width, frame_height, seed, scores and batches
/// separated by spaces), latencies in milliseconds, evidence (kept, never or removed; folder and bytes), and delivery
/// to the broker (acknowledged, waiting, refused). A missing value is an empty field in CSV and null in JSON. The log is
/// read page by page, so it may be of any length.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportTableArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// csv with a header line, or jsonl with one JSON object per line
    #[arg(long, value_enum, default_value = "csv")]
    format: TableFormat,
    /// Write at most this many [default: all]
    #[arg(long)]
    limit: Option<usize>,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TableFormat {
    Csv,
    Jsonl,
}

/// Why not everything was written.
pub(super) enum ExportError {
    Log(LogError),
    Output(io::Error),
}

pub(super) fn export(args: &ExportTableArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let records = state.log.records(args.filter.filter(), Order::OldestFirst);
    let mut rows = records.take(args.limit.unwrap_or(usize::MAX)).peekable();
    let none = rows.peek().is_none();
    let result = match &args.out {
        None => write(io::stdout().lock(), args.format, rows),
        Some(path) => {
            let mut file = WholeFile::create(path)
                .with_context(|| format!("--out {}: cannot be written", path.display()))
                .map_err(Failure::refused)?;
            write(&mut file, args.format, rows).and_then(|()| file.finish().map_err(ExportError::Output))
        }
    };
    if none {
        print_note!("certiscope: {}", args.filter.no_match());
    }
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ExportError::Log(error)) => Err(Failure::refused(error)),
        Err(ExportError::Output(error)) => written(Err(error)),
    }
}

pub(super) fn write(
    out: impl Write,
    format: TableFormat,
    records: impl Iterator<Item = Result<crate::store::Record, LogError>>,
) -> Result<(), ExportError> {
    match format {
        TableFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            for record in records {
                csv.serialize(InspectionRow::from(&record.map_err(ExportError::Log)?)).map_err(csv_error)?;
            }
            csv.flush().map_err(ExportError::Output)
        }
        TableFormat::Jsonl => {
            let mut out = BufWriter::new(out);
            for record in records {
                let record = record.map_err(ExportError::Log)?;
                let line = serde_json::to_string(&InspectionRow::from(&record))
                    .expect("a row is plain names and values");
                writeln!(out, "{line}").map_err(ExportError::Output)?;
            }
            out.flush().map_err(ExportError::Output)
        }
    }
}

fn csv_error(error: csv::Error) -> ExportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ExportError::Output(error),
        other => ExportError::Output(io::Error::other(format!("{other:?}"))),
    }
}
