//! The record stage: evidence, then the one transaction that makes an inspection true.
//!
//! Guarantees: every inspection is committed, in order, however long the disk refuses; evidence that cannot be
//! kept is counted and delays no verdict. Leaves out: letting go of what was kept (see `retention`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::live::{Live, PAUSED};
use super::{Recorded, Stop, Summary, WAIT, short};
use crate::capture::Frame;
use crate::evidence::{self, Keep};
use crate::inspection::{Evidence, Inspection};
use crate::inspector::Inspected;
use crate::publish::wire::Condition;
use crate::store::{Committed, EncodeMessages, Origin};
use crate::verdict::Verdict;

/// How long a stop waits for a disk that refuses.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// Between tries, from the first, doubling, to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What the record stage writes where.
pub(super) struct Recorder {
    pub live: Arc<Live>,
    pub origin: Origin,
    pub stop: Stop,
    /// The station's own.
    pub evidence_folder: PathBuf,
    pub keep: Keep,
    /// What is sent of an inspection.
    pub encode: Arc<EncodeMessages>,
    /// With less room than this on the disk no evidence is made.
    pub min_free_bytes: u64,
}

impl Recorder {
    /// Records until inference has ended, or has left its last inspection behind.
    pub(super) fn run(
        &self,
        inspected: Receiver<(Arc<Frame>, Inspected)>,
        mut observe: impl FnMut(&Recorded<'_>),
    ) -> anyhow::Result<Summary> {
        let mut summary = Summary::default();
        loop {
            let pulse = &self.live.pulses.record;
            match inspected.recv_timeout(WAIT) {
                Ok((frame, inspected)) => {
                    self.live.to_record.fetch_sub(1, Ordering::Relaxed);
                    pulse.at_work();
                    self.record(&frame, inspected, &mut summary, &mut observe)?;
                    pulse.idle();
                }
                Err(RecvTimeoutError::Timeout) => {
                    pulse.idle();
                    if let Some((frame, inspected)) = self.live.abandoned() {
                        self.record(&frame, inspected, &mut summary, &mut observe)?;
                        return Ok(summary);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(summary),
            }
        }
    }

    fn record(
        &self,
        frame: &Frame,
        mut inspected: Inspected,
        summary: &mut Summary,
        observe: &mut impl FnMut(&Recorded<'_>),
    ) -> anyhow::Result<()> {
        inspected.inspection.evidence = self.keep_evidence(frame, &inspected);
        let inspection = Arc::new(inspected.inspection);
        let committed = self.commit(&inspection)?;
        self.live.committed(inspection.verdict);
        match inspection.verdict {
            Verdict::Normal => summary.normal += 1,
            Verdict::Anomalous => summary.anomalous += 1,
            Verdict::Abstain(_) => summary.abstained += 1,
        }
        observe(&Recorded { seq: committed.seq, frame, inspection: &inspection });
        Ok(())
    }

    fn keep_evidence(&self, frame: &Frame, inspected: &Inspected) -> Option<Evidence> {
        let inspection = &inspected.inspection;
        if !self.keep.wants(inspection.verdict, inspection.seed) {
            return None;
        }
        let free = self.live.disk_free_bytes();
        let (state, reason) = if free.is_some_and(|free| free < self.min_free_bytes) {
            let mb = |bytes: u64| bytes / 1_000_000;
            let reason = format!(
                "{} MB are free on the disk, evidence.min_free_mb = {}: no evidence until there is room",
                mb(free.unwrap_or_default()),
                mb(self.min_free_bytes)
            );
            (PAUSED, reason)
        } else {
            let name = folder_name(&self.origin, inspection);
            match evidence::keep(&self.evidence_folder, &name, frame, inspected) {
                Ok(kept) => {
                    self.live.set_evidence(Condition::ok());
                    return Some(kept);
                }
                Err(error) => ("failing", error.to_string()),
            }
        };
        // Evidence stops before verdicts do.
        self.live.evidence_lost();
        self.live.pulses.record.failed(&reason);
        self.live.set_evidence(Condition { state, reason: Some(reason) });
        None
    }

    /// Tries until the inspection is on the disk. Gives up on an error that stays, and some time after a stop.
    fn commit(&self, inspection: &Arc<Inspection>) -> anyhow::Result<Committed> {
        let mut wait = FIRST_WAIT;
        let mut stopping: Option<Instant> = None;
        loop {
            let error = match self.live.store.commit(
                &self.origin,
                Arc::clone(inspection),
                Arc::clone(&self.encode),
            ) {
                Ok(committed) => {
                    self.live.set_store(Condition::ok());
                    return Ok(committed);
                }
                Err(error) => error,
            };
            self.live.pulses.record.failed(&error);
            let part = inspection.part_id.as_deref().unwrap_or("without a name");
            let lost = format!("the inspection of part {part} and those after it could not be written");
            let Some(cause) = error.passing() else {
                return Err(error).context(lost);
            };
            self.live.set_store(Condition { state: cause.word(), reason: Some(error.to_string()) });
            if self.stop.wait(wait) {
                if stopping.get_or_insert_with(Instant::now).elapsed() > COMMIT_LIMIT {
                    return Err(error).context(lost);
                }
                std::thread::sleep(wait); // `stop` does not wait any more
            }
            wait = (2 * wait).min(LONGEST_WAIT);
            self.live.pulses.record.at_work(); // trying again is a turn
        }
    }
}

fn folder_name(origin: &Origin, inspection: &Inspection) -> String {
    format!(
        "{}-{}-{}-{}",
        inspection.captured_at.strftime("%Y%m%dT%H%M%S"),
        short(origin),
        inspection.source_seq,
        inspection.verdict.word()
    )
}
