//! What the commands share that read the inspection log: the options that say where it is and which inspections are
//! wanted, and how names are shown.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

use super::Failure;
use super::local_time::local_zone;
use crate::config::Config;
use crate::state_folder::StateFolder;
use crate::store::{Filter, Log, Record};
use crate::verdict::Reason;

/// Where the inspection log is. Exactly one of the two options is given.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct StoreArgs {
    /// State folder of the agent, with certiscope.db and evidence/ in it
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// Configuration of the station; the state folder that it names is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The inspection log of a state folder, open, and the evidence beside it.
pub(super) struct OpenedLog {
    pub(super) log: Log,
    folder: StateFolder,
}

impl StoreArgs {
    pub(super) fn open(&self) -> Result<OpenedLog, Failure> {
        let folder = match (&self.store, &self.config) {
            (Some(folder), _) => folder.clone(),
            (None, Some(config)) => Config::read(config).map_err(Failure::refused)?.state_folder,
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let folder = StateFolder::new(folder);
        let log = Log::open(&folder.database()).map_err(Failure::refused)?;
        Ok(OpenedLog { log, folder })
    }
}

impl OpenedLog {
    /// Where the evidence of this inspection is, if it has any.
    pub(super) fn evidence(&self, record: &Record) -> Option<PathBuf> {
        let kept = record.inspection.evidence.as_ref()?;
        Some(self.folder.evidence().join(&record.station).join(&kept.folder))
    }
}

/// One inspection of the log.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Id of the start (boot_id of the verdict; its first characters are enough), or a whole result_id
    #[arg(value_name = "BOOT")]
    boot: String,
    /// Number of the inspection (seq of the verdict); left out after a result_id
    seq: Option<u64>,
    /// Station; needed only if this start of the agent ran several
    #[arg(long)]
    station: Option<String>,
}

impl OneArgs {
    pub(super) fn find(&self, log: &Log) -> Result<Record, Failure> {
        let result_id = || {
            let (boot, seq) = self.boot.rsplit_once('-')?;
            Some((boot, seq.parse().ok()?))
        };
        let (boot, seq) = self.seq.map(|seq| (&*self.boot, seq)).or_else(result_id).ok_or_else(|| {
            let words = "no inspection; give BOOT and SEQ, or a result_id (BOOT-SEQ)";
            Failure::refused(anyhow!("{}: {words}", self.boot))
        })?;
        log.one(boot, self.station.as_deref(), seq).map_err(Failure::refused)
    }
}

/// Which inspections are wanted. An option that is not given restricts nothing.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Captured at or after: 2026-11-21T14:03:00Z, "2026-11-21 14:03" (local time), 2026-11-21, or 2h, 1d ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Captured before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Only this verdict
    #[arg(long, value_parser = PossibleValuesParser::new(["normal", "anomalous", "abstain"]))]
    verdict: Option<String>,
    /// Only abstains for this reason
    #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::word)))]
    reason: Option<String>,
    /// Only this part; each * stands for any characters: "lot-7/*"
    #[arg(long)]
    part: Option<String>,
    /// Only this station
    #[arg(long)]
    station: Option<String>,
    /// Only this start of the agent (its boot_id; the first characters are enough)
    #[arg(long, value_name = "ID")]
    boot: Option<String>,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Filter {
        let Self { from, to, verdict, reason, part, station, boot } = self;
        Filter {
            from: *from,
            to: *to,
            verdict: verdict.clone(),
            reason: reason.clone(),
            part: part.clone(),
            station: station.clone(),
            boot: boot.clone(),
        }
    }

    /// What is said when nothing matches. Names the times as they were understood: another time zone than the user's is the usual
    /// reason.
    pub(super) fn no_match(&self) -> String {
        let zone = local_zone();
        let moment = |word: &str, moment: Option<Timestamp>| {
            moment.map(|moment| format!(" {word} {} ({moment})", zone.show(moment)))
        };
        let times: String =
            [moment("from", self.from), moment("to", self.to)].into_iter().flatten().collect();
        match &*times {
            "" => "no inspection matches the filter".to_owned(),
            times => {
                format!("no inspection matches the filter; captured{times}, local time is {}", zone.name())
            }
        }
    }
}

/// Reads a time as people write it.
fn time(text: &str) -> Result<Timestamp, String> {
    local_zone().read(text, Timestamp::now())
}

/// A name that came from outside, without characters that control the terminal.
pub(super) fn printable(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}
