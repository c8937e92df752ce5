//! The inference stage: takes each frame from the hand-over, lets the model's thread inspect it, and gives the inspection to
//! the record stage.
//!
//! Guarantees: every frame that was handed over gets an inspection. If a model call does not return within its limit, the
//! verdict on its frame is abstain, and the station ends, because only the end of the process frees the model's thread. Time
//! in which the whole process stands still, as after Ctrl-Z, counts for no limit: the model does not run then either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::error::{AgentError, FirstFault};
use super::handover::{Handover, Queued, Taken};
use super::record_queue::RecordSender;
use super::timing::WAIT;
use crate::capture::Frame;
use crate::diffusion::seed::{FrameSeed, fresh_seed};
use crate::inference::{ModelHandle, Waited};
use crate::inspection::{FrameOutcome, Inspection, Latency};
use crate::inspector::{Inspected, Inspector};
use crate::pulse::Pulse;
use crate::verdict::Reason;

/// The inference stage, with what it needs.
pub(super) struct InferenceStage {
    pub handover: Arc<Handover>,
    pub model: ModelHandle,
    pub inspector: Arc<Inspector>,
    /// A model call that takes longer is considered to hang.
    pub call_limit: Duration,
    pub record: RecordSender,
    pub pulse: Pulse,
    pub fault: FirstFault,
}

impl InferenceStage {
    /// Runs until the hand-over is closed and empty, the record stage has ended, or the model hangs.
    pub(super) fn run(self) -> anyhow::Result<()> {
        loop {
            self.pulse.idle();
            let Queued { frame, at } = match self.handover.take(WAIT) {
                Taken::Frame(queued) => queued,
                Taken::NotYet => continue,
                Taken::Closed => return Ok(()),
            };
            let seed = fresh_seed().context("seed: the operating system gave no random numbers")?;
            let frame = Arc::new(frame);
            let inspected = self.inspect(&frame, seed, at)?;
            let hangs = inspected.is_none();
            let inspected = inspected.unwrap_or_else(|| self.abandon(&frame, seed, at));
            self.pulse.idle();
            if let Some(fault) = &inspected.inspection.fault {
                self.pulse.failed(fault);
            }
            let recorded = self.record.send((frame, inspected), WAIT / 10, || self.pulse.idle());
            if hangs || !recorded {
                return Ok(()); // the fault is already reported, here or by the record stage
            }
        }
    }

    /// Lets the model's thread inspect a frame. `None` if a model call has not returned within its limit.
    fn inspect(
        &self,
        frame: &Arc<Frame>,
        seed: FrameSeed,
        queued: Instant,
    ) -> anyhow::Result<Option<Inspected>> {
        let ended = || anyhow!("the model's thread has ended; the reason is earlier in the journal");
        let reply = self.model.inspect(&self.inspector, Arc::clone(frame), seed, queued).ok_or_else(ended)?;
        let (mut calls, mut waited) = (None, Duration::ZERO);
        loop {
            // This stage counts as alive as long as the model makes progress, even on a frame of another station.
            let now = self.model.pulse().turns();
            if calls.replace(now) != Some(now) {
                self.pulse.at_work();
                waited = Duration::ZERO;
            }
            let since = Instant::now();
            match reply.wait(WAIT) {
                Waited::Done(inspected) => return Ok(Some(*inspected)),
                Waited::Ended => return Err(ended()),
                Waited::NotYet => {}
            }
            // A wait that took far longer than asked for was one in which this process did not run.
            waited += since.elapsed().min(2 * WAIT);
            let hangs = self.model.pulse().working_for().is_some_and(|time| time > self.call_limit);
            if hangs && waited > self.call_limit {
                return Ok(None);
            }
        }
    }

    /// Makes the inspection of a frame whose model call does not return: the verdict is abstain. Reports the fault, which ends
    /// the station.
    fn abandon(&self, frame: &Arc<Frame>, seed: FrameSeed, queued: Instant) -> Inspected {
        let fault = format!(
            "model: a call has not returned for {} s (station.model.call_limit_ms = {})",
            self.call_limit.as_secs_f64(),
            self.call_limit.as_millis()
        );
        self.fault.report(AgentError::Stopped(anyhow!(
            "{fault}; the verdict on its frame is abstain, and the agent ends so that it can be started again"
        )));
        let outcome = FrameOutcome::NotDrawn { reason: Reason::ModelFault, fault };
        let latency = Latency::until_now(frame, queued, queued);
        let inspection = Inspection::of(frame, seed, outcome, latency, self.inspector.parameters());
        Inspected { inspection, input: None, heat_map: None }
    }
}
