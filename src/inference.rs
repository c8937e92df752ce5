//! The thread that owns the model, and the handle by which a station has a frame inspected.
//!
//! Guarantees: the model is called from one thread only; commands run one after another, each gets one reply; whoever waits
//! for a reply waits as long as it chooses, so a call that never returns hangs this thread and no other.
//! The pulse is at work during each model call and idle between commands.
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

/// Commands that may wait; a station has at most one at a time.
const QUEUE: usize = 16;

/// Have a frame inspected, by the rules of the station that it comes from.
struct InspectCommand {
    inspector: Arc<Inspector>,
    frame: Arc<Frame>,
    seed: FrameSeed,
    queued: Instant,
    reply: SyncSender<Inspected>,
}

/// The way to the model from any thread. The thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct ModelHandle {
    commands: SyncSender<InspectCommand>,
    pulse: Pulse,
}

/// The inspection that was asked for.
pub(crate) struct Reply(Receiver<Inspected>);

/// What waiting for a reply gave.
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
    /// Has `inspector` inspect `frame` with the noise of `seed`; `queued` is when it was handed over. `None` when the thread
    /// has ended. Waits only while more stations ask than [`QUEUE`].
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

    /// The model's calls.
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
