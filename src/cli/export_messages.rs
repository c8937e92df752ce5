//! `certiscope export`: verdicts as they went on the wire, for a reader that found a gap.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::inspection_log::{StoreArgs, written};
use crate::publish::json_output::{self, Timeliness};

const PIPE: &str = "\
To the broker again (the topic is that of the station's verdicts):
  certiscope export --store S --boot ID --from 17 --to 40 | mosquitto_pub -l -q 1 -t TOPIC";

/// Write verdict messages again, marked historical, to close a reader's gap.
///
/// One a line, as committed and as on the wire but for that mark. Every reader recognises what it has by (boot_id, seq), so a range may be sent again as a whole. Exit code 1,
/// with the numbers named on standard error, where rows of the range are gone (retention) or were never given;
/// those that are there are written all the same.
#[derive(Debug, Args)]
#[command(after_help = PIPE)]
pub(super) struct ExportMessagesArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// boot_id of the verdicts; its first characters are enough
    #[arg(long, value_name = "ID")]
    boot: String,
    /// First seq to write
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    from: u64,
    /// Last seq to write [default: the last one given]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    to: Option<u64>,
    /// Station, where one start ran several
    #[arg(long)]
    station: Option<String>,
}

pub(super) fn export(args: &ExportMessagesArgs) -> Result<ExitCode, Failure> {
    let state = args.store.open()?;
    let boot = state.log.boot(&args.boot, args.station.as_deref()).map_err(Failure::refused)?;
    let to = args.to.unwrap_or(boot.last_seq.max(args.from));
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut next, mut count, mut missing) = (args.from, 0_u64, Vec::new());
    loop {
        let page = state.log.messages(&boot, json_output::JSON, next, to).map_err(Failure::refused)?;
        if page.is_empty() {
            break;
        }
        for (seq, body) in page {
            missing.extend(range(next, seq - 1));
            next = seq + 1;
            count += 1;
            let message = json_output::message(body, Timeliness::Historical);
            if let Err(error) = out.write_all(&message).and_then(|()| out.write_all(b"\n")) {
                return written(Err(error));
            }
        }
    }
    missing.extend(range(next, to));
    written(out.flush())?;
    eprintln!("certiscope: {count} verdicts of boot {} at {}", boot.boot_id, boot.station);
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "certiscope: not in the log: seq {}; retention has removed those up to {}, higher ones were never given",
        missing.join(", "),
        boot.last_seq
    );
    Ok(ExitCode::from(super::exit_code::STOPPED))
}

/// `from` to `to` in words; nothing for an empty range.
fn range(from: u64, to: u64) -> Option<String> {
    match from {
        _ if from > to => None,
        _ if from == to => Some(from.to_string()),
        _ => Some(format!("{from} to {to}")),
    }
}
