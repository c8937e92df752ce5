//! The bounded queue of inspections from the inference stage to the record stage. Its length can be read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::capture::Frame;
use crate::inspector::Inspected;

/// How many inspections the queue can have.
const CAPACITY: usize = 8;

/// A frame and its inspection.
pub(super) type InspectedFrame = (Arc<Frame>, Inspected);

pub(super) struct RecordSender {
    queue: SyncSender<InspectedFrame>,
    length: QueueLength,
}

pub(super) struct RecordReceiver {
    queue: Receiver<InspectedFrame>,
    length: QueueLength,
}

/// Reads how many inspections wait for the record stage.
#[derive(Debug, Clone, Default)]
pub(super) struct QueueLength(Arc<AtomicU64>);

pub(super) fn record_queue() -> (RecordSender, RecordReceiver, QueueLength) {
    let (sender, receiver) = sync_channel(CAPACITY);
    let length = QueueLength::default();
    (
        RecordSender { queue: sender, length: length.clone() },
        RecordReceiver { queue: receiver, length: length.clone() },
        length,
    )
}

impl RecordSender {
    /// Waits for room however long it takes, and calls `beat` again and again meanwhile. False if the record stage has ended.
    pub(super) fn send(&self, mut inspected: InspectedFrame, pause: Duration, beat: impl Fn()) -> bool {
        self.length.0.fetch_add(1, Ordering::Relaxed);
        loop {
            match self.queue.try_send(inspected) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) => inspected = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            beat();
            std::thread::sleep(pause);
        }
    }
}

impl RecordReceiver {
    pub(super) fn receive(&self, limit: Duration) -> Result<InspectedFrame, RecvTimeoutError> {
        let inspected = self.queue.recv_timeout(limit)?;
        self.length.0.fetch_sub(1, Ordering::Relaxed);
        Ok(inspected)
    }
}

impl QueueLength {
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
