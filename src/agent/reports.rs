//! What the stages of a station report about themselves, each through its own channel. The supervisor reads the reports.
//!
//! Guarantees: reporting and reading never wait. A change of state is logged once, and no lock is held meanwhile.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::capture::{CameraInfo, Drops, Trouble};
use crate::pulse::Pulse;
use crate::status::{
    Condition, ConditionState, EvidenceState, SourceState, SourceStatus, StoreState, VerdictCounts,
};
use crate::verdict::Verdict;

/// The report of the capture stage.
#[derive(Debug, Clone)]
pub(super) struct CaptureReport {
    pub source: SourceStatus,
    pub drops: Drops,
}

/// The report of the record stage.
#[derive(Debug, Clone)]
pub(super) struct RecordReport {
    pub store: Condition<StoreState>,
    pub evidence: Condition<EvidenceState>,
    pub verdicts: VerdictCounts,
    /// For how many inspections evidence should be kept but could not.
    pub evidence_lost: u64,
}

/// The sender of the capture stage's report.
pub(super) struct CaptureReporter {
    report: watch::Sender<CaptureReport>,
    pulse: Pulse,
}

impl CaptureReporter {
    pub(super) fn new(pulse: Pulse) -> (Self, watch::Receiver<CaptureReport>) {
        let source = SourceStatus { state: SourceState::Ok, reason: None, last_frame_at: None, camera: None };
        let (report, reader) = watch::channel(CaptureReport { source, drops: Drops::default() });
        (Self { report, pulse }, reader)
    }

    /// A frame came, so the source works.
    pub(super) fn frame_at(&self, captured: Timestamp) {
        let mut recovered = false;
        self.report.send_modify(|CaptureReport { source, .. }| {
            recovered = source.reason.take().is_some();
            source.state = SourceState::Ok;
            source.last_frame_at = Some(captured);
        });
        if recovered {
            tracing::info!("source: ok again");
        }
    }

    pub(super) fn troubled(&self, trouble: Trouble) {
        let state = SourceState::Troubled(trouble.kind);
        let mut is_new = false;
        self.report.send_modify(|CaptureReport { source, .. }| {
            is_new = source.state != state;
            source.state = state;
            source.reason = Some(trouble.reason.clone());
        });
        if is_new {
            tracing::error!("source: {}: {}", state.word(), trouble.reason);
            self.pulse.failed(&trouble.reason);
        }
    }

    /// The camera as the source describes it, and how many of its frames were dropped.
    pub(super) fn set_camera(&self, camera: Option<Arc<CameraInfo>>, drops: Drops) {
        self.report.send_if_modified(|report| {
            let changed = report.source.camera != camera || report.drops != drops;
            report.source.camera = camera;
            report.drops = drops;
            changed
        });
    }

    pub(super) fn ended(&self) {
        self.report.send_modify(|report| report.source.state = SourceState::Ended);
    }
}

/// The sender of the record stage's report.
pub(super) struct RecordReporter(watch::Sender<RecordReport>);

impl RecordReporter {
    pub(super) fn new() -> (Self, watch::Receiver<RecordReport>) {
        let (report, reader) = watch::channel(RecordReport {
            store: Condition::ok(),
            evidence: Condition::ok(),
            verdicts: VerdictCounts::default(),
            evidence_lost: 0,
        });
        (Self(report), reader)
    }

    pub(super) fn set_store(&self, condition: Condition<StoreState>) {
        self.set("store", condition, |report| &mut report.store);
    }

    pub(super) fn set_evidence(&self, condition: Condition<EvidenceState>) {
        self.set("evidence", condition, |report| &mut report.evidence);
    }

    pub(super) fn committed(&self, verdict: Verdict) {
        self.0.send_modify(|report| report.verdicts.count(verdict));
    }

    pub(super) fn evidence_lost(&self) {
        self.0.send_modify(|report| report.evidence_lost += 1);
    }

    fn set<S: ConditionState>(
        &self,
        what: &str,
        condition: Condition<S>,
        of: impl Fn(&mut RecordReport) -> &mut Condition<S>,
    ) {
        let mut before = condition.state;
        self.0.send_modify(|report| {
            before = of(report).state;
            of(report).clone_from(&condition);
        });
        condition.log_change(what, before);
    }
}
