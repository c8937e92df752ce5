//! [`FrameSource`]: a place that frames come from, and the events that it reports.
//!
//! Guarantees: a source that gives no frames says why ([`Trouble`]); a call never waits longer than it was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{Frame, Stamp};

/// What asking a source for its next frame gave.
#[derive(Debug)]
pub enum SourceEvent {
    Frame(Box<Frame>),
    /// A frame came that nobody wanted: the source is well.
    Passed(Stamp),
    /// Nothing within the wait; ask again.
    NotYet,
    /// No frame can be had now, or none that may be inspected; ask again.
    Trouble(Trouble),
    /// The source has no more (a folder read once).
    End,
}

/// Why a source gives no frames at present. Debounced by the source: one bad frame is a drop and not yet trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// For the person who must act.
    pub reason: String,
}

/// The kinds of trouble; their words are part of the contract (`status.source.state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// Not there, or not to be opened.
    Lost,
    /// There, and gives no frames.
    Stalled,
    /// Gives the same frame again and again.
    Frozen,
    Dark,
    Saturated,
    /// Gives frames that cannot be read, or of a wrong size.
    Broken,
    /// Gives another format than the detector was calibrated with.
    Refused,
}

/// The camera behind a source, as it was negotiated.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraInfo {
    /// As configured.
    pub device: String,
    /// The node it was found under.
    pub path: String,
    pub driver: String,
    /// The four characters of V4L2, such as `MJPG`.
    pub format: String,
    pub width: u32,
    pub height: u32,
    pub frames_per_second: f64,
    /// Controls that do not hold the value they were given, in words.
    pub controls_drifted: Vec<String>,
}

/// Frames that a source had and did not hand on, by cause, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Gaps in the driver's count: never seen by us.
    pub driver: u64,
    pub broken: u64,
    /// The same as the frame before, dark or saturated, or a newer one was there already.
    pub stale: u64,
}

/// A place frames come from. Hardware comes in here: folder, simulator, camera.
pub trait FrameSource: Send {
    /// The next frame, waiting at most `wait` for it, so that a shutdown is never blocked.
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError>;

    /// Nobody wants a frame at present. A source that runs by itself takes its next one, waiting at most `wait`, and
    /// throws it away undecoded, so that the next one wanted is a fresh one; the others return at once and lose
    /// nothing.
    fn pass(&mut self, _wait: Duration) -> Result<SourceEvent, CaptureError> {
        Ok(SourceEvent::NotYet)
    }

    /// From now on only frames exposed at `moment` or later are handed on. Nothing for a source that makes its frames
    /// when asked.
    fn not_before(&mut self, _moment: Instant) {}

    /// One line for the log and `status`: what is read, from where.
    fn describe(&self) -> String;

    /// The camera, once it was opened.
    fn camera(&self) -> Option<Arc<CameraInfo>> {
        None
    }

    fn drops(&self) -> Drops {
        Drops::default()
    }
}

/// The source itself cannot go on (one bad frame is a [`BadFrame`] and not this).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("source: {path}: {why}; {allowed}")]
    Folder { path: String, why: String, allowed: String },
    #[error("source: {key} = {value}: {why}; {allowed}")]
    Setting { key: &'static str, value: String, why: String, allowed: String },
}
