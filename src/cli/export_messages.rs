//! `certiscope export`: writes the MQTT messages of verdicts again, for a subscriber that missed some.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::inspection_log::StoreArgs;
use crate::cli::output::{print_note, written};
use crate::publish::json_output::{self, Timeliness};

const PIPE: &str = "\
To the broker again (the topic is that of the station's verdicts):
  certiscope export --store S --boot ID --from 17 --to 40 | mosquitto_pub -l -q 1 -t TOPIC";

/// Write verdict messages again, for a subscriber that missed some.
///
/// Writes one message per line, as it was sent, but marked as historical. A subscriber recognises messages that it
/// already has by boot_id and seq, so a whole range may be sent again. If a seq of the range is not in the log, because
/// retention has deleted it or because it was never given, it is named on standard error and the exit code is 1. The
/// other messages are written all the same.
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
    /// Last seq to write [default: the highest of this boot_id]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    to: Option<u64>,
    /// Station; needed only if this start of the agent ran several
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
    print_note!("certiscope: {count} verdicts of boot {} at {}", boot.boot_id, boot.station);
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print_note!(
        "certiscope: not in the log: seq {}; those up to {} were deleted by retention, and higher ones were never given",
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
