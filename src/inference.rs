//! The thread that owns the model, and the handle through which a station lets it inspect a frame.
//!
//! Guarantees: the model is called from one thread only. Commands run one after another, and each gets one reply. Waiting for
//! a reply has a limit that the caller chooses, so a model call that never returns hangs this thread and no other. The pulse
//! is at work during each model call and idle between commands.
//! Leaves out: what to do about a call that does not return (see `agent::inference_stage`).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::capture::Frame;
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::inspector::{Inspected, Inspector};
use crate::pulse::Pulse;

/// How many commands the queue can have; a station has at most one at a time.
const QUEUE: usize = 16;

/// The command to inspect a frame, with the inspector of the station that it comes from.
struct InspectCommand {
    inspector: Arc<Inspector>,
    frame: Arc<Frame>,
    seed: FrameSeed,
    queued: Instant,
    reply: SyncSender<Inspected>,
}

/// Lets any thread use the model. The model's thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct ModelHandle {
    commands: SyncSender<InspectCommand>,
    pulse: Pulse,
}

/// The reply to a command, which may not have come yet.
pub(crate) struct Reply(Receiver<Inspected>);

/// The result of waiting for a reply.
pub(crate) enum Waited {
    Done(Box<Inspected>),
    NotYet,
    /// The model's thread has ended: there will be no reply.
    Ended,
}

/// Starts the thread `model`.
pub(crate) fn start(
    mut detector: Detector,
) -> std::io::Result<(JoinHandle<anyhow::Result<()>>, ModelHandle)> {
    let (commands, queue) = sync_channel::<InspectCommand>(QUEUE);
    let pulse = Pulse::default();
    let beat = pulse.clone();
    let thread = std::thread::Builder::new().name("model".to_owned()).spawn(move || {
        while let Ok(command) = queue.recv() {
            let InspectCommand { inspector, frame, seed, queued, reply } = command;
            let inspected = inspector.inspect(&mut detector, &beat, &frame, seed, queued);
            beat.idle();
            // A station that has given up waiting needs no reply.
            let _ = reply.send(inspected);
        }
        Ok(())
    })?;
    Ok((thread, ModelHandle { commands, pulse }))
}

impl ModelHandle {
    /// Lets `inspector` inspect `frame` with the noise of `seed`; `queued` is when the frame was handed over. `None` if the
    /// thread has ended. Waits only while the queue is full.
    pub(crate) fn inspect(
        &self,
        inspector: &Arc<Inspector>,
        frame: Arc<Frame>,
        seed: FrameSeed,
        queued: Instant,
    ) -> Option<Reply> {
        let (reply, receiver) = sync_channel(1);
        let inspector = Arc::clone(inspector);
        self.commands.send(InspectCommand { inspector, frame, seed, queued, reply }).ok()?;
        Some(Reply(receiver))
    }

    /// The pulse of the model calls.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }
}

impl Reply {
    /// Waits for the inspection, at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Waited {
        match self.0.recv_timeout(limit) {
            Ok(inspected) => Waited::Done(Box::new(inspected)),
            Err(RecvTimeoutError::Timeout) => Waited::NotYet,
            Err(RecvTimeoutError::Disconnected) => Waited::Ended,
        }
    }
}
