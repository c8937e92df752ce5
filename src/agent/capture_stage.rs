//! The capture stage: takes frames from the source and gives them to the hand-over.
//!
//! Guarantees: a source that fails is tried again, and its state is reported. A stage that waits for a frame, for a trigger or
//! for room in the hand-over counts as alive.

use std::sync::Arc;

use super::handover::{Handover, Put};
use super::reports::CaptureReporter;
use super::timing::WAIT;
use crate::capture::trigger::TriggerGate;
use crate::capture::{Frame, SourceEvent, Trouble, TroubleKind};
use crate::pulse::Pulse;
use crate::stop::Stop;

/// The capture stage, with what it needs.
pub(super) struct CaptureStage {
    pub gate: TriggerGate,
    pub handover: Arc<Handover>,
    pub report: CaptureReporter,
    pub pulse: Pulse,
    pub stop: Stop,
}

impl CaptureStage {
    /// Hands over the frames that the trigger asks for, until the source ends or a stop is requested.
    pub(super) fn run(mut self) {
        while !self.stop.requested() {
            self.pulse.idle();
            self.report.set_camera(self.gate.source().camera(), self.gate.source().drops());
            match self.gate.next(WAIT) {
                Ok(SourceEvent::Frame(frame)) => {
                    self.report.frame_at(frame.captured_at.wall);
                    if self.hand_over(*frame) {
                        self.gate.handed_over();
                    }
                }
                Ok(SourceEvent::Passed(stamp)) => self.report.frame_at(stamp.wall),
                Ok(SourceEvent::NotYet) => {}
                Ok(SourceEvent::Trouble(trouble)) => self.report.troubled(trouble),
                Ok(SourceEvent::End) => return self.report.ended(),
                Err(error) => {
                    self.report.troubled(Trouble { kind: TroubleKind::Lost, reason: error.to_string() });
                    self.stop.wait(WAIT);
                }
            }
        }
    }

    /// Waits for room however long it takes. False if the hand-over is closed.
    fn hand_over(&self, mut frame: Frame) -> bool {
        loop {
            self.pulse.idle();
            match self.handover.put(frame, WAIT) {
                Put::Taken => return true,
                Put::Full(back) => frame = back,
                Put::Closed => return false,
            }
        }
    }
}
