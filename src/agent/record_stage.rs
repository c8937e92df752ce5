//! The record stage: keeps the evidence of an inspection, then commits the inspection in one transaction.
//!
//! Guarantees: every inspection is committed, in order. While the disk cannot be written, the commit is tried again; only
//! after a stop does this have a time limit. Evidence that cannot be kept is counted and delays no verdict.
//! Leaves out: deleting old evidence and rows (see `retention`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;

use super::record_queue::RecordReceiver;
use super::reports::RecordReporter;
use super::timing::WAIT;
use crate::capture::Frame;
use crate::evidence::{self, Keep};
use crate::inspection::{Evidence, Inspection};
use crate::inspector::Inspected;
use crate::pulse::Pulse;
use crate::status::{Condition, EvidenceState, StoreState};
use crate::stop::Stop;
use crate::store::{Committed, EncodeMessages, Origin, StoreHandle};

/// After a stop, how long a commit that fails is tried again.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries: `FIRST_WAIT` at first, then twice as long each time, up to `LONGEST_WAIT`.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A committed inspection, for the observer of the agent.
pub(super) struct RecordedFrame {
    pub seq: u64,
    pub frame: Arc<Frame>,
    pub inspection: Arc<Inspection>,
}

/// The record stage, with what it needs.
pub(super) struct RecordStage {
    pub queue: RecordReceiver,
    pub store: StoreHandle,
    pub origin: Origin,
    pub stop: Stop,
    /// The evidence folder of this station.
    pub evidence_folder: PathBuf,
    pub keep: Keep,
    /// Makes the messages of an inspection.
    pub encode: Arc<EncodeMessages>,
    /// With less free space than this on the disk, no evidence is kept.
    pub min_free_bytes: u64,
    /// Free space on the disk when it was last measured.
    pub disk_free_bytes: watch::Receiver<Option<u64>>,
    pub report: RecordReporter,
    pub pulse: Pulse,
    /// Receives every inspection once it is committed.
    pub recorded: SyncSender<RecordedFrame>,
}

impl RecordStage {
    /// Runs until the inference stage has ended.
    pub(super) fn run(self) -> anyhow::Result<()> {
        loop {
            match self.queue.receive(WAIT) {
                Ok((frame, inspected)) => {
                    self.pulse.at_work();
                    self.record(frame, inspected)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.pulse.idle();
        }
    }

    fn record(&self, frame: Arc<Frame>, mut inspected: Inspected) -> anyhow::Result<()> {
        inspected.inspection.evidence = self.keep_evidence(&frame, &inspected);
        let inspection = Arc::new(inspected.inspection);
        let committed = self.commit(&inspection)?;
        self.report.committed(inspection.verdict);
        // The observer has ended only if the agent ends because of a fault.
        let _ = self.recorded.send(RecordedFrame { seq: committed.seq, frame, inspection });
        Ok(())
    }

    fn keep_evidence(&self, frame: &Frame, inspected: &Inspected) -> Option<Evidence> {
        let inspection = &inspected.inspection;
        if !self.keep.wants(inspection.verdict, inspection.seed) {
            return None;
        }
        let free = *self.disk_free_bytes.borrow();
        // A lack of space stops evidence first, so that there is still room for verdicts.
        if free.is_some_and(|free| free < self.min_free_bytes) {
            // The supervisor reports this state, since it begins and ends without an inspection.
            self.report.evidence_lost();
            self.pulse.failed("evidence: the disk has less room than evidence.min_free_mb");
            return None;
        }
        let name = folder_name(&self.origin, inspection);
        match evidence::keep(&self.evidence_folder, &name, frame, inspected) {
            Ok(kept) => {
                self.report.set_evidence(Condition::ok());
                Some(kept)
            }
            Err(error) => {
                self.report.evidence_lost();
                self.pulse.failed(&error);
                self.report.set_evidence(Condition::bad(EvidenceState::Failing, error));
                None
            }
        }
    }

    /// Tries until the inspection is on the disk. Gives up if waiting cannot help, or [`COMMIT_LIMIT`] after a stop.
    fn commit(&self, inspection: &Arc<Inspection>) -> anyhow::Result<Committed> {
        let mut wait = FIRST_WAIT;
        let mut stopping: Option<Instant> = None;
        loop {
            let error =
                match self.store.commit(&self.origin, Arc::clone(inspection), Arc::clone(&self.encode)) {
                    Ok(committed) => {
                        self.report.set_store(Condition::ok());
                        return Ok(committed);
                    }
                    Err(error) => error,
                };
            self.pulse.failed(&error);
            let part = inspection.part_id.as_deref().unwrap_or("without a name");
            let lost = format!("the inspection of part {part} and those after it could not be written");
            let Some(cause) = error.passing() else {
                return Err(error).context(lost);
            };
            self.report.set_store(Condition::bad(StoreState::Refuses(cause), &error));
            if self.stop.wait(wait) {
                if stopping.get_or_insert_with(Instant::now).elapsed() > COMMIT_LIMIT {
                    return Err(error).context(lost);
                }
                std::thread::sleep(wait); // `stop.wait` returns at once after a stop
            }
            wait = (2 * wait).min(LONGEST_WAIT);
            self.pulse.at_work(); // each try is progress
        }
    }
}

fn folder_name(origin: &Origin, inspection: &Inspection) -> String {
    format!(
        "{}-{}-{}-{}",
        inspection.captured_at.strftime("%Y%m%dT%H%M%S"),
        short_boot(origin),
        inspection.source_seq,
        inspection.verdict.word()
    )
}

/// The first 8 characters of the boot id, as they are in the names of evidence folders.
pub(super) fn short_boot(origin: &Origin) -> String {
    origin.boot_id.simple().to_string().chars().take(8).collect()
}
