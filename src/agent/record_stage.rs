//! The record stage: evidence, then the one transaction that commits an inspection.
//!
//! Guarantees: every inspection is committed, in order, however long the disk refuses; evidence that cannot be kept is
//! counted and delays no verdict. Leaves out: deleting what was kept (see `retention`).

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

/// How long a stop waits for a disk that refuses.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// Between tries, from the first, doubling, to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An inspection that is on the disk, for those who watch the agent.
pub(super) struct RecordedFrame {
    pub seq: u64,
    pub frame: Arc<Frame>,
    pub inspection: Arc<Inspection>,
}

/// What the record stage writes where.
pub(super) struct RecordStage {
    pub queue: RecordReceiver,
    pub store: StoreHandle,
    pub origin: Origin,
    pub stop: Stop,
    /// The station's own.
    pub evidence_folder: PathBuf,
    pub keep: Keep,
    /// What is sent of an inspection.
    pub encode: Arc<EncodeMessages>,
    /// With less room than this on the disk no evidence is made.
    pub min_free_bytes: u64,
    /// Room on the disk, as it was measured last.
    pub disk_free_bytes: watch::Receiver<Option<u64>>,
    pub report: RecordReporter,
    pub pulse: Pulse,
    /// Takes every inspection once it is committed.
    pub recorded: SyncSender<RecordedFrame>,
}

impl RecordStage {
    /// Records until inference has ended.
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
        // Nobody watches any more only when the agent is ending on a fault.
        let _ = self.recorded.send(RecordedFrame { seq: committed.seq, frame, inspection });
        Ok(())
    }

    fn keep_evidence(&self, frame: &Frame, inspected: &Inspected) -> Option<Evidence> {
        let inspection = &inspected.inspection;
        if !self.keep.wants(inspection.verdict, inspection.seed) {
            return None;
        }
        let free = *self.disk_free_bytes.borrow();
        let condition = if free.is_some_and(|free| free < self.min_free_bytes) {
            let mb = |bytes: u64| bytes / 1_000_000;
            let reason = format!(
                "{} MB are free on the disk, evidence.min_free_mb = {}: no evidence until there is room",
                mb(free.unwrap_or_default()),
                mb(self.min_free_bytes)
            );
            Condition::bad(EvidenceState::Paused, reason)
        } else {
            let name = folder_name(&self.origin, inspection);
            match evidence::keep(&self.evidence_folder, &name, frame, inspected) {
                Ok(kept) => {
                    self.report.set_evidence(Condition::ok());
                    return Some(kept);
                }
                Err(error) => Condition::bad(EvidenceState::Failing, error),
            }
        };
        // Evidence stops before verdicts do.
        self.report.evidence_lost();
        self.pulse.failed(condition.reason.as_deref().unwrap_or_default());
        self.report.set_evidence(condition);
        None
    }

    /// Tries until the inspection is on the disk. Gives up on an error that stays, and some time after a stop.
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
                std::thread::sleep(wait); // `stop` does not wait any more
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

/// A boot in the names of its evidence.
pub(super) fn short_boot(origin: &Origin) -> String {
    origin.boot_id.simple().to_string().chars().take(8).collect()
}
