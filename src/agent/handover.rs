//! The hand-over from capture to inference: a bounded queue with two manners.
//!
//! Guarantees: never more than its capacity in memory; with [`Delivery::Latest`] capture never waits and
//! every frame that gives way to a newer one is counted; with [`Delivery::Every`] capture waits and no
//! frame is dropped. Closing wakes both sides; what was handed over before is still taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::capture::Frame;
use crate::config::Delivery;

/// A frame with the moment it was handed over.
#[derive(Debug)]
pub(super) struct Queued {
    pub frame: Frame,
    pub at: Instant,
}

/// A bounded queue of frames between two threads.
#[derive(Debug)]
pub(super) struct Handover {
    delivery: Delivery,
    capacity: usize,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Queued>,
    dropped: u64,
    closed: bool,
}

impl Handover {
    pub(super) fn new(delivery: Delivery) -> Self {
        let capacity = match delivery {
            Delivery::Latest => 1,
            // One in the making while one is waiting.
            Delivery::Every => 2,
        };
        Self { delivery, capacity, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Hands a frame over, waiting for room or dropping the oldest one as `delivery` says. A frame handed
    /// over after closing is dropped and counted.
    pub(super) fn put(&self, frame: Frame) {
        let mut inner = self.lock();
        while self.delivery == Delivery::Every && inner.frames.len() >= self.capacity && !inner.closed {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closed {
            inner.dropped += 1;
            return;
        }
        if inner.frames.len() >= self.capacity {
            inner.frames.pop_front();
            inner.dropped += 1;
        }
        inner.frames.push_back(Queued { frame, at: Instant::now() });
        self.changed.notify_all();
    }

    /// The next frame, waiting for one; `None` once closed and empty.
    pub(super) fn take(&self) -> Option<Queued> {
        let mut inner = self.lock();
        loop {
            if let Some(queued) = inner.frames.pop_front() {
                self.changed.notify_all();
                return Some(queued);
            }
            if inner.closed {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Frames that were captured and never inspected.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A thread that died while holding the lock left the queue as it was: every change above is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{BadFrame, Stamp};

    fn frame(source_seq: u64) -> Frame {
        Frame {
            source_seq,
            captured_at: Stamp::now(),
            part_id: None,
            picture: Err(BadFrame::Empty("test".to_owned())),
            encoded: None,
            truth: None,
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let handover = Handover::new(Delivery::Latest);
        (1..=5).for_each(|seq| handover.put(frame(seq)));
        assert_eq!(handover.take().unwrap().frame.source_seq, 5);
        assert_eq!(handover.dropped(), 4);
    }

    #[test]
    fn every_frame_arrives_in_order_however_slow_the_taker() {
        let handover = Handover::new(Delivery::Every);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..=50).for_each(|seq| handover.put(frame(seq)));
                handover.close();
            });
            let taken: Vec<u64> =
                std::iter::from_fn(|| handover.take().map(|queued| queued.frame.source_seq)).collect();
            assert_eq!(taken, (1..=50).collect::<Vec<_>>());
        });
        assert_eq!(handover.dropped(), 0);
    }

    #[test]
    fn closing_frees_a_waiting_capture_and_keeps_what_was_handed_over() {
        let handover = Handover::new(Delivery::Every);
        handover.put(frame(1));
        handover.put(frame(2));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| handover.put(frame(3)));
            handover.close();
            waiting.join().unwrap();
        });
        let taken: Vec<u64> = std::iter::from_fn(|| handover.take().map(|q| q.frame.source_seq)).collect();
        assert_eq!((taken, handover.dropped()), (vec![1, 2], 1));
    }
}
