//! `certiscope inspections list`: prints the newest inspections as a table.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;

use super::row::InspectionRow;
use crate::cli::inspection_log::{FilterArgs, StoreArgs, printable};
use crate::cli::local_time::local_zone;
use crate::cli::output::{print_note, written};
use crate::cli::{Failure, or_dash, rounded_down};
use crate::store::{DeliveryState, EvidenceKept, Order, Record};

/// List inspections, newest first.
///
/// Give the id of the second column to `inspections show` or `verify`. A radius is shown only where a side is
/// certified. Times are local; the head of the table names the time zone. With --json they are UTC.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// List at most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let mut records = state.log.records(args.filter.filter(), Order::NewestFirst);
    let shown: Vec<Record> =
        records.by_ref().take(args.limit as usize).collect::<Result<_, _>>().map_err(Failure::refused)?;
    let more = records.next().is_some();
    let out = BufWriter::new(io::stdout().lock());
    let code = written(if args.json { as_json(out, &shown) } else { as_table(out, &shown) })?;
    if more {
        print_note!("certiscope: only the newest {} are listed; --limit shows more", args.limit);
    } else if shown.is_empty() {
        print_note!("certiscope: {}", args.filter.no_match());
    }
    Ok(code)
}

fn as_json(mut out: impl Write, records: &[Record]) -> io::Result<()> {
    for record in records {
        writeln!(out, "{}", serde_json::to_string(&InspectionRow::from(record))?)?;
    }
    out.flush()
}

/// Columns as wide as their content.
pub(super) fn as_table(mut out: impl Write, records: &[Record]) -> io::Result<()> {
    let captured = format!("captured ({})", local_zone().name());
    let head = [&*captured, "id", "station", "part", "verdict", "radius", "score", "evidence", "broker"];
    let lines: Vec<[String; 9]> =
        std::iter::once(head.map(str::to_owned)).chain(records.iter().map(columns)).collect();
    let widths: [usize; 9] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    out.flush()
}

fn columns(record: &Record) -> [String; 9] {
    let inspection = &record.inspection;
    let certificate = inspection.certificate.as_ref();
    let verdict = match inspection.verdict.reason() {
        Some(reason) => format!("{} ({})", inspection.verdict.word(), reason.word()),
        None => inspection.verdict.word().to_owned(),
    };
    [
        local_zone().show(inspection.captured_at),
        format!("{}-{}", &record.boot_id.to_string()[..8], record.seq),
        printable(&record.station),
        or_dash(inspection.part_id.as_deref().map(printable)),
        verdict,
        or_dash(certificate.filter(|it| it.side.is_some()).map(|it| rounded_down(it.radius))),
        match certificate.and_then(|certificate| certificate.score) {
            Some(score) => format!("{score:.3} / {:.3}", inspection.parameters.threshold),
            None => "-".to_owned(),
        },
        match record.evidence_state {
            EvidenceKept::Kept => "kept",
            EvidenceKept::Never => "-",
            EvidenceKept::Removed => "removed",
        }
        .to_owned(),
        match record.delivery {
            DeliveryState::Acknowledged => "has it",
            DeliveryState::Waiting => "waiting",
            DeliveryState::Refused { .. } => "refused it",
        }
        .to_owned(),
    ]
}
