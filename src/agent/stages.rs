//! What the threads beside the record stage do: capture, inference, retention. How they are started and stopped
//! stands in the parent.
//!
//! Guarantees: every frame handed over gets its inspection; a source that fails is tried again, its state
//! visible; nothing is let go of by a clock that has just jumped; whatever a stage waits for, its loop turns.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use anyhow::Context;

use super::handover::{Put, Taken};
use super::live::{Fault, InHand, Live};
use super::{Stop, WAIT, short};
use crate::capture::gate::Gate;
use crate::capture::{Frame, Next, Trouble, TroubleKind};
use crate::diffusion::noise::fresh_seed;
use crate::inspector::{Inspected, Inspector};
use crate::retention::{Moment, Retention};
use crate::store::{self, Origin, StoreErrorKind};

/// Between two looks at what may go; a small part of it while there is more to do.
const RETENTION: Duration = Duration::from_secs(1);

/// The wanted frames of the source into the hand-over until the source ends or a stop is asked for.
pub(super) fn capture(gate: &mut Gate, stop: &Stop, live: &Live) {
    while !stop.requested() {
        live.pulses.capture.idle();
        live.set_camera(gate.source().camera(), gate.source().drops());
        match gate.next(WAIT) {
            Ok(Next::Frame(frame)) => {
                live.frame_at(frame.captured_at.wall);
                if hand_over(*frame, live) {
                    gate.handed_over();
                }
            }
            Ok(Next::Passed(stamp)) => live.frame_at(stamp.wall),
            Ok(Next::NotYet) => {}
            Ok(Next::Trouble(trouble)) => live.source_troubled(trouble),
            Ok(Next::End) => return live.source_ended(),
            Err(error) => {
                live.source_troubled(Trouble { kind: TroubleKind::Lost, reason: error.to_string() });
                stop.wait(WAIT);
            }
        }
    }
}

/// However long there is no room; whether the frame was taken.
fn hand_over(mut frame: Frame, live: &Live) -> bool {
    loop {
        live.pulses.capture.idle();
        match live.handover.put(frame, WAIT) {
            Put::Taken => return true,
            Put::Full(back) => frame = back,
            Put::Closed => return false,
        }
    }
}

/// Every frame handed over gets its inspection.
pub(super) fn infer(
    inspector: &mut Inspector,
    live: &Live,
    record: &SyncSender<(Arc<Frame>, Inspected)>,
) -> anyhow::Result<()> {
    loop {
        live.pulses.inference.idle();
        let queued = match live.handover.take(WAIT) {
            Taken::Frame(queued) => queued,
            Taken::NotYet => continue,
            Taken::Closed => return Ok(()),
        };
        let seed = fresh_seed().context("entropy of the operating system")?;
        let frame = Arc::new(queued.frame);
        live.take_in_hand(InHand { frame: Arc::clone(&frame), seed, queued: queued.at });
        let inspected = inspector.inspect(&frame, seed, queued.at);
        live.pulses.inference.idle();
        if let Some(fault) = &inspected.inspection.fault {
            live.pulses.inference.failed(fault);
        }
        if live.put_down().is_none() {
            return Ok(()); // it took so long that the supervisor has recorded the frame in our place
        }
        live.to_record.fetch_add(1, Ordering::Relaxed);
        if !pass_on((frame, inspected), live, record) {
            return Ok(()); // the record stage has ended and says why itself
        }
    }
}

/// However long the disk refuses; false when nobody records any more.
fn pass_on(
    mut inspected: (Arc<Frame>, Inspected),
    live: &Live,
    record: &SyncSender<(Arc<Frame>, Inspected)>,
) -> bool {
    loop {
        match record.try_send(inspected) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => inspected = back,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        live.pulses.inference.idle();
        std::thread::sleep(WAIT / 10);
    }
}

/// Looks whether the log is sound, then keeps it and the evidence within bounds until a stop.
pub(super) fn retain(retention: &mut Retention, database: &Path, origin: &Origin, live: &Live, stop: &Stop) {
    let pulse = &live.pulses.retention;
    let turning = pulse.clone();
    match store::check(database, move || turning.at_work()) {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {
            return live.fail(Fault::Lasting(error.into()));
        }
        Err(error) => pulse.failed(error),
        Ok(()) => {}
    }
    match retention.sweep(&origin.station, &short(origin), || pulse.at_work()) {
        Ok(0) => {}
        Ok(swept) => tracing::info!("evidence: {swept} folders without a row removed, left by a crash"),
        Err(error) => pulse.failed(error),
    }
    let mut pause = Duration::ZERO;
    while !stop.wait(pause) {
        pulse.at_work();
        let (now, days_count) = live.look_at_clock();
        let moment = Moment { now, days_count, free_bytes: live.disk_free_bytes() };
        if moment.free_bytes.is_none_or(|free| free >= retention.limits.evidence.min_free_bytes) {
            live.resume_evidence();
        }
        pause = match retention.step(&moment) {
            Ok(step) if step.did_something() => RETENTION / 20,
            Ok(_) => RETENTION,
            Err(error) => {
                pulse.failed(error);
                RETENTION
            }
        };
        pulse.idle();
    }
}
