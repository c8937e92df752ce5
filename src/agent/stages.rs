//! What the threads of a station do: capture, inference, record. How they are started and stopped stands in
//! the parent.
//!
//! Guarantees: every frame handed over gets its inspection, every inspection its transaction; a source that fails
//! is tried again, its state visible; evidence that cannot be kept is counted and delays no verdict.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::handover::Handover;
use super::{Recorded, Stop, Summary, WAIT};
use crate::capture::{Frame, FrameSource, Next};
use crate::diffusion::noise::fresh_seed;
use crate::evidence;
use crate::inspection::Evidence;
use crate::inspector::{Inspected, Inspector};
use crate::publish::wire::{self, SourceState};
use crate::store::{Origin, StoreHandle};
use crate::verdict::Verdict;

/// What the stages tell the supervisor.
pub(super) struct Shared {
    source: Mutex<wire::Source>,
    evidence_lost: AtomicU64,
}

impl Shared {
    pub(super) fn new(source: wire::Source) -> Self {
        Self { source: Mutex::new(source), evidence_lost: AtomicU64::new(0) }
    }

    /// Inspections whose evidence could not be kept.
    pub(super) fn evidence_lost(&self) -> u64 {
        self.evidence_lost.load(Ordering::Relaxed)
    }

    pub(super) fn source(&self) -> std::sync::MutexGuard<'_, wire::Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames from the source into the hand-over until the source ends or a stop is asked for.
pub(super) fn capture(source: &mut dyn FrameSource, handover: &Handover, stop: &Stop, shared: &Shared) {
    while !stop.requested() {
        match source.next(WAIT) {
            Ok(Next::Frame(frame)) => {
                let mut state = shared.source();
                if state.state == SourceState::Lost {
                    tracing::info!("source: back");
                }
                *state = wire::Source {
                    state: SourceState::Ok,
                    reason: None,
                    last_frame_at: Some(frame.captured_at.wall),
                };
                drop(state);
                handover.put(*frame);
            }
            Ok(Next::NotYet) => {}
            Ok(Next::End) => {
                shared.source().state = SourceState::Ended;
                return;
            }
            Err(error) => {
                let mut state = shared.source();
                if state.state != SourceState::Lost {
                    tracing::error!("{error}");
                }
                state.state = SourceState::Lost;
                state.reason = Some(error.to_string());
                drop(state);
                stop.wait(Duration::from_secs(1));
            }
        }
    }
}

/// Every frame handed over gets its inspection.
pub(super) fn infer(
    inspector: &mut Inspector,
    handover: &Handover,
    record: &SyncSender<(Frame, Inspected)>,
) -> anyhow::Result<()> {
    while let Some(queued) = handover.take() {
        let seed = fresh_seed().context("entropy of the operating system")?;
        let inspected = inspector.inspect(&queued.frame, seed, queued.at);
        if record.send((queued.frame, inspected)).is_err() {
            // The record stage has ended and says why itself.
            break;
        }
    }
    Ok(())
}

/// Evidence, then the one transaction that makes an inspection true.
pub(super) fn record(
    inspected: &Receiver<(Frame, Inspected)>,
    evidence_folder: &Path,
    store: &StoreHandle,
    origin: &Origin,
    shared: &Shared,
    mut observe: impl FnMut(&Recorded<'_>),
) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    for (frame, mut inspected) in inspected {
        if inspected.inspection.verdict != Verdict::Normal {
            match keep_evidence(evidence_folder, origin, &frame, &inspected) {
                Ok(kept) => inspected.inspection.evidence = Some(kept),
                Err(error) => {
                    // Evidence stops before verdicts do.
                    shared.evidence_lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("{error}");
                }
            }
        }
        let inspection = Arc::new(inspected.inspection);
        let committed = store.commit(origin, Arc::clone(&inspection))?;
        match inspection.verdict {
            Verdict::Normal => summary.normal += 1,
            Verdict::Anomalous => summary.anomalous += 1,
            Verdict::Abstain(_) => summary.abstained += 1,
        }
        observe(&Recorded { seq: committed.seq, frame: &frame, inspection: &inspection });
    }
    Ok(summary)
}

fn keep_evidence(
    folder: &Path,
    origin: &Origin,
    frame: &Frame,
    inspected: &Inspected,
) -> Result<Evidence, evidence::EvidenceError> {
    let inspection = &inspected.inspection;
    let boot: String = origin.boot_id.simple().to_string().chars().take(8).collect();
    let name = format!(
        "{}-{boot}-{}-{}",
        inspection.captured_at.strftime("%Y%m%dT%H%M%S"),
        inspection.source_seq,
        inspection.verdict.word()
    );
    evidence::keep(folder, &name, frame, inspected, inspection.parameters.threshold)
}
