//! What the threads before the record stage do: capture and inference. How they are started and stopped stands
//! in the parent.
//!
//! Guarantees: every frame handed over gets its inspection; a source that fails is tried again, its state
//! visible.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::Context;

use super::handover::Taken;
use super::live::{InHand, Live};
use super::{Stop, WAIT};
use crate::capture::{Frame, FrameSource, Next};
use crate::diffusion::noise::fresh_seed;
use crate::inspector::{Inspected, Inspector};

/// Frames from the source into the hand-over until the source ends or a stop is asked for.
pub(super) fn capture(source: &mut dyn FrameSource, stop: &Stop, live: &Live) {
    while !stop.requested() {
        live.pulses.capture.idle();
        match source.next(WAIT) {
            Ok(Next::Frame(frame)) => {
                live.frame_at(frame.captured_at.wall);
                live.handover.put(*frame);
            }
            Ok(Next::NotYet) => {}
            Ok(Next::End) => return live.source_ended(),
            Err(error) => {
                live.source_lost(&error);
                stop.wait(Duration::from_secs(1));
            }
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
        if record.send((frame, inspected)).is_err() {
            return Ok(()); // the record stage has ended and says why itself
        }
    }
}
