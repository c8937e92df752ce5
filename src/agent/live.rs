//! What a running station knows of itself: its stages write it down, `status` and metrics read it.
//!
//! Guarantees: reading waits for no stage; a condition that changes is logged once, when it changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::clocks::Clocks;
use super::handover::Handover;
use crate::capture::trigger::Triggers;
use crate::capture::{CameraInfo, Drops, Frame, Trouble};
use crate::health::Pulse;
use crate::inspection::FrameSeed;
use crate::inspector::Inspected;
use crate::machine;
use crate::publish::DeliveryTimes;
use crate::publish::wire::{self, Clock, Condition, Provider, Snapshot, Source, SourceState, Stage};
use crate::store::StoreHandle;
use crate::verdict::Verdict;

/// No evidence is made, since the disk is low.
pub(super) const PAUSED: &str = "paused";

/// What does not change while the station runs.
pub(super) struct Fixed {
    pub model: String,
    pub model_sha256: String,
    pub provider: Provider,
    pub deadline_ms: Option<u64>,
    /// Whose disk is watched.
    pub state_folder: PathBuf,
}

/// Shared by every thread of a station.
pub(super) struct Live {
    fixed: Fixed,
    pub handover: Handover,
    pub store: StoreHandle,
    pub delivery: DeliveryTimes,
    /// Where the line asks for frames.
    pub triggers: Option<Triggers>,
    pub pulses: Pulses,
    states: Mutex<States>,
    /// Inspections on their way to the disk.
    pub to_record: AtomicU64,
    verdicts: Mutex<BTreeMap<&'static str, u64>>,
    evidence_lost: AtomicU64,
    in_hand: Mutex<Option<InHand>>,
    abandoned: Mutex<Option<(Arc<Frame>, Inspected)>>,
    /// A model call does not return any more.
    inference_hangs: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

/// Of the stages; the store's own is its handle's.
#[derive(Default)]
pub(super) struct Pulses {
    pub capture: Pulse,
    pub inference: Pulse,
    pub record: Pulse,
    pub publish: Pulse,
    pub retention: Pulse,
}

struct States {
    source: Source,
    drops: Drops,
    bundle: Condition,
    store: Condition,
    evidence: Condition,
    clocks: Clocks,
    clock: Clock,
    clock_synchronised: Option<bool>,
}

/// The frame that inference works on.
pub(super) struct InHand {
    pub frame: Arc<Frame>,
    pub seed: FrameSeed,
    pub queued: Instant,
}

/// Why the agent ends that was not asked to.
pub(super) enum Fault {
    /// Starting again may help.
    Passing(anyhow::Error),
    /// It cannot.
    Lasting(anyhow::Error),
}

impl Live {
    pub(super) fn new(
        fixed: Fixed,
        handover: Handover,
        store: StoreHandle,
        triggers: Option<Triggers>,
        inference: Pulse,
    ) -> Self {
        Self {
            fixed,
            handover,
            store,
            delivery: DeliveryTimes::default(),
            triggers,
            pulses: Pulses { inference, ..Pulses::default() },
            states: Mutex::new(States {
                source: Source { state: SourceState::Ok, reason: None, last_frame_at: None, camera: None },
                drops: Drops::default(),
                bundle: Condition::ok(),
                store: Condition::ok(),
                evidence: Condition::ok(),
                clocks: Clocks::new(Timestamp::now(), Instant::now()),
                clock: Clock::default(),
                clock_synchronised: machine::clock_synchronised(),
            }),
            to_record: AtomicU64::new(0),
            verdicts: Mutex::new(["normal", "anomalous", "abstain"].map(|word| (word, 0)).into()),
            evidence_lost: AtomicU64::new(0),
            in_hand: Mutex::new(None),
            abandoned: Mutex::new(None),
            inference_hangs: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    /// Everything, as it is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let states = self.states();
        let fixed = &self.fixed;
        Snapshot {
            model: fixed.model.clone(),
            model_sha256: fixed.model_sha256.clone(),
            provider: fixed.provider.clone(),
            bundle: states.bundle.clone(),
            source: states.source.clone(),
            store: states.store.clone(),
            evidence: states.evidence.clone(),
            clock_synchronised: states.clock_synchronised,
            clock: states.clock,
            disk_free_bytes: machine::disk_free_bytes(&fixed.state_folder),
            memory_bytes: machine::resident_bytes(),
            deadline_ms: fixed.deadline_ms,
            verdicts: lock(&self.verdicts).clone(),
            drops: [
                ("newer_frame", self.handover.dropped()),
                ("driver", states.drops.driver),
                ("broken", states.drops.broken),
                ("stale", states.drops.stale),
                ("evidence", self.evidence_lost.load(Ordering::Relaxed)),
            ]
            .into(),
            delivery: self.delivery.figures(),
            triggers: self.triggers.as_ref().map(Triggers::counts),
            queues: [
                ("frames", self.handover.waiting() as u64),
                ("record", self.to_record.load(Ordering::Relaxed)),
                ("store", self.store.queued() as u64),
            ]
            .into(),
            stages: self.stages().map(|(name, pulse)| (name, Stage::from(pulse))).into(),
        }
    }

    /// Every stage's pulse.
    pub(super) fn stages(&self) -> [(&'static str, &Pulse); 6] {
        [
            ("capture", &self.pulses.capture),
            ("inference", &self.pulses.inference),
            ("record", &self.pulses.record),
            ("store", self.store.pulse()),
            ("publish", &self.pulses.publish),
            ("retention", &self.pulses.retention),
        ]
    }

    pub(super) fn disk_free_bytes(&self) -> Option<u64> {
        machine::disk_free_bytes(&self.fixed.state_folder)
    }

    /// A frame came: the source is well.
    pub(super) fn frame_at(&self, captured: Timestamp) {
        let source = &mut self.states().source;
        if source.reason.is_some() {
            tracing::info!("source: well again");
        }
        source.state = SourceState::Ok;
        source.reason = None;
        source.last_frame_at = Some(captured);
    }

    pub(super) fn source_troubled(&self, trouble: Trouble) {
        let source = &mut self.states().source;
        let state = SourceState::Troubled(trouble.kind);
        if source.state != state {
            tracing::error!("source: {}: {}", state.word(), trouble.reason);
            self.pulses.capture.failed(&trouble.reason);
        }
        source.state = state;
        source.reason = Some(trouble.reason);
    }

    /// What the source says of its camera, and how many of its frames it could not hand on.
    pub(super) fn set_camera(&self, camera: Option<Arc<CameraInfo>>, drops: Drops) {
        let mut states = self.states();
        states.source.camera = camera.as_deref().map(wire::Camera::from);
        states.drops = drops;
    }

    pub(super) fn source_ended(&self) {
        self.states().source.state = SourceState::Ended;
    }

    pub(super) fn set_store(&self, condition: Condition) {
        change("store", &mut self.states().store, condition);
    }

    pub(super) fn set_bundle(&self, condition: Condition) {
        change("bundle", &mut self.states().bundle, condition);
    }

    pub(super) fn set_evidence(&self, condition: Condition) {
        change("evidence", &mut self.states().evidence, condition);
    }

    pub(super) fn committed(&self, verdict: Verdict) {
        *lock(&self.verdicts).entry(verdict.word()).or_default() += 1;
    }

    /// There is room on the disk: evidence need not wait until the next is wanted to say that it goes on.
    pub(super) fn resume_evidence(&self) {
        let evidence = &mut self.states().evidence;
        if evidence.state == PAUSED {
            change("evidence", evidence, Condition::ok());
        }
    }

    pub(super) fn evidence_lost(&self) {
        self.evidence_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// The time, and whether ages can be told by it: not after a jump, unless the clock follows a reference. What is
    /// read is compared with the monotonic clock first, so that nobody acts on a time that has just jumped.
    pub(super) fn look_at_clock(&self) -> (Timestamp, bool) {
        let mut states = self.states();
        let now = Timestamp::now();
        let step = states.clocks.step(now, Instant::now());
        if let Some(step) = step {
            tracing::warn!("clock: jumped by {step:#}; times before and after do not compare");
            states.clock.steps += 1;
            states.clock.last_step_ms = Some(step.as_millis() as i64);
        }
        states.clock_synchronised = machine::clock_synchronised();
        (now, states.clock.steps == 0 || states.clock_synchronised == Some(true))
    }

    pub(super) fn take_in_hand(&self, in_hand: InHand) {
        *lock(&self.in_hand) = Some(in_hand);
    }

    /// What was in hand; once: whoever takes it records it.
    pub(super) fn put_down(&self) -> Option<InHand> {
        lock(&self.in_hand).take()
    }

    /// Leaves an inspection to be recorded whose thread cannot do it any more.
    pub(super) fn abandon(&self, frame: Arc<Frame>, inspected: Inspected) {
        self.inference_hangs.store(true, Ordering::Relaxed);
        *lock(&self.abandoned) = Some((frame, inspected));
    }

    pub(super) fn inference_hangs(&self) -> bool {
        self.inference_hangs.load(Ordering::Relaxed)
    }

    pub(super) fn abandoned(&self) -> Option<(Arc<Frame>, Inspected)> {
        lock(&self.abandoned).take()
    }

    /// The first fault is the reason that counts; what it brings down after it is not.
    pub(super) fn fail(&self, fault: Fault) {
        let (Fault::Passing(error) | Fault::Lasting(error)) = &fault;
        tracing::error!("{error:#}");
        lock(&self.fault).get_or_insert(fault);
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        lock(&self.fault).take()
    }

    fn states(&self) -> MutexGuard<'_, States> {
        lock(&self.states)
    }
}

fn change(what: &str, old: &mut Condition, new: Condition) {
    if old.state != new.state {
        match &new.reason {
            None => tracing::info!("{what}: {} again", new.state),
            Some(reason) => tracing::error!("{what}: {}: {reason}", new.state),
        }
    }
    *old = new;
}

/// A thread that died while holding a lock left whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
