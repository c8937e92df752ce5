//! The hand-over from capture to inference: a bounded queue with two policies, newest wins or capture waits.
//!
//! Guarantees: never more frames in memory than its capacity. With [`QueuePolicy::Latest`] capture never waits, and every
//! frame that is replaced by a newer one is counted. With [`QueuePolicy::Every`] capture waits, a little at a time, and no
//! frame is dropped. Closing wakes both sides; frames handed over before can still be taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::capture::Frame;
use crate::config::QueuePolicy;
use crate::sync::{lock, wait_while};

/// A frame with the time when it was handed over.
#[derive(Debug)]
pub(super) struct Queued {
    pub frame: Frame,
    pub at: Instant,
}

/// The result of handing a frame over.
#[derive(Debug)]
pub(super) enum Put {
    Taken,
    /// There is no room yet: the frame comes back, to be tried again.
    Full(Frame),
    /// The hand-over is closed: the frame is dropped and counted.
    Closed,
}

/// The result of asking for a frame.
#[derive(Debug)]
pub(super) enum Taken {
    Frame(Queued),
    NotYet,
    /// The hand-over is closed and empty.
    Closed,
}

/// A bounded queue of frames between two threads.
#[derive(Debug)]
pub(super) struct Handover {
    policy: QueuePolicy,
    capacity: usize,
    inner: Mutex<HandoverContent>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct HandoverContent {
    frames: VecDeque<Queued>,
    dropped: u64,
    closed: bool,
}

impl Handover {
    pub(super) fn new(policy: QueuePolicy) -> Self {
        let capacity = match policy {
            QueuePolicy::Latest => 1,
            // Two, so that one can be put in while another one waits.
            QueuePolicy::Every => 2,
        };
        Self { policy, capacity, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Hands a frame over. If there is no room, waits for it at most `limit`, or drops the oldest frame: the policy decides.
    pub(super) fn put(&self, frame: Frame, limit: Duration) -> Put {
        let waits = |inner: &mut HandoverContent| {
            self.policy == QueuePolicy::Every && inner.frames.len() >= self.capacity && !inner.closed
        };
        let mut inner = wait_while(&self.changed, lock(&self.inner), limit, waits);
        if inner.closed {
            inner.dropped += 1;
            return Put::Closed;
        }
        if inner.frames.len() >= self.capacity {
            if self.policy == QueuePolicy::Every {
                return Put::Full(frame);
            }
            inner.frames.pop_front();
            inner.dropped += 1;
        }
        inner.frames.push_back(Queued { frame, at: Instant::now() });
        self.changed.notify_all();
        Put::Taken
    }

    /// The next frame, waiting for one at most `limit`.
    pub(super) fn take(&self, limit: Duration) -> Taken {
        let nothing = |inner: &mut HandoverContent| inner.frames.is_empty() && !inner.closed;
        let mut inner = wait_while(&self.changed, lock(&self.inner), limit, nothing);
        match inner.frames.pop_front() {
            Some(queued) => {
                self.changed.notify_all();
                Taken::Frame(queued)
            }
            None if inner.closed => Taken::Closed,
            None => Taken::NotYet,
        }
    }

    /// How many frames wait to be inspected.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.inner).frames.len()
    }

    pub(super) fn close(&self) {
        lock(&self.inner).closed = true;
        self.changed.notify_all();
    }

    /// How many frames were captured and never inspected.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.inner).dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{BadFrame, Stamp};

    fn taken(handover: &Handover) -> Option<u64> {
        match handover.take(Duration::from_secs(10)) {
            Taken::Frame(queued) => Some(queued.frame.source_seq),
            Taken::NotYet => panic!("nothing came"),
            Taken::Closed => None,
        }
    }

    #[test]
    fn taking_from_an_empty_hand_over_ends_in_time() {
        let handover = Handover::new(QueuePolicy::Latest);
        assert!(matches!(handover.take(Duration::from_millis(1)), Taken::NotYet));
        put(&handover, 1);
        assert_eq!((handover.waiting(), taken(&handover), handover.waiting()), (1, Some(1), 0));
    }

    #[test]
    fn without_room_the_frame_comes_back_in_time() {
        let handover = Handover::new(QueuePolicy::Every);
        (1..=2).for_each(|seq| put(&handover, seq));
        let Put::Full(frame) = handover.put(frame(3), Duration::from_millis(1)) else {
            panic!("there was room")
        };
        assert_eq!((frame.source_seq, handover.waiting(), handover.dropped()), (3, 2, 0));
    }

    fn put(handover: &Handover, seq: u64) {
        assert!(matches!(handover.put(frame(seq), Duration::from_secs(10)), Put::Taken));
    }

    fn frame(source_seq: u64) -> Frame {
        Frame {
            source_seq,
            captured_at: Stamp::now(),
            part_id: None,
            meas_id: None,
            picture: Err(BadFrame::Empty("test".to_owned())),
            encoded: None,
            truth: None,
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let handover = Handover::new(QueuePolicy::Latest);
        (1..=5).for_each(|seq| put(&handover, seq));
        assert_eq!(taken(&handover), Some(5));
        assert_eq!(handover.dropped(), 4);
    }

    #[test]
    fn every_frame_arrives_in_order_however_slow_the_taker() {
        let handover = Handover::new(QueuePolicy::Every);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..=50).for_each(|seq| put(&handover, seq));
                handover.close();
            });
            let taken: Vec<u64> = std::iter::from_fn(|| taken(&handover)).collect();
            assert_eq!(taken, (1..=50).collect::<Vec<_>>());
        });
        assert_eq!(handover.dropped(), 0);
    }

    #[test]
    fn closing_frees_a_waiting_capture_and_keeps_what_was_handed_over() {
        let handover = Handover::new(QueuePolicy::Every);
        (1..=2).for_each(|seq| put(&handover, seq));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| handover.put(frame(3), Duration::from_secs(10)));
            handover.close();
            assert!(matches!(waiting.join().unwrap(), Put::Closed));
        });
        let taken: Vec<u64> = std::iter::from_fn(|| taken(&handover)).collect();
        assert_eq!((taken, handover.dropped()), (vec![1, 2], 1));
    }
}
