//! [`FrameSource`]: a place that frames come from, and the events that it reports.
//!
//! Guarantees: a source that gives no frames says why ([`Trouble`]). A call never waits longer than its limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{Frame, Stamp};

/// The answer of a source that was asked for its next frame.
#[derive(Debug)]
pub enum SourceEvent {
    Frame(Box<Frame>),
    /// A frame came that was not wanted. The source works.
    Passed(Stamp),
    /// No frame within the wait. Ask again.
    NotYet,
    /// The source gives no frame at present, or none that may be inspected. Ask again.
    Trouble(Trouble),
    /// The source has no more frames (a folder that is read once).
    End,
}

/// Why a source gives no frames at present. One bad frame is a drop; only several in a row are trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// A sentence that says what is wrong and what to do.
    pub reason: String,
}

/// The kinds of trouble; their words are part of the contract (`status.source.state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// Not there, or cannot be opened.
    Lost,
    /// There, but gives no frames.
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
    /// The name in the configuration.
    pub device: String,
    /// The node that the name leads to.
    pub path: String,
    pub driver: String,
    /// The four characters of V4L2, such as `MJPG`.
    pub format: String,
    pub width: u32,
    pub height: u32,
    pub frames_per_second: f64,
    /// One sentence for each control that does not have the value it was set to.
    pub controls_drifted: Vec<String>,
}

/// Frames that a source did not hand on, counted by cause since the source was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Gaps in the driver's sequence numbers: frames that never arrived.
    pub driver: u64,
    pub broken: u64,
    /// Identical to the frame before, dark or saturated; or a newer frame was there already.
    pub stale: u64,
}

/// A place that frames come from: folder, simulator, camera. Tests put their own source here.
pub trait FrameSource: Send {
    /// The next frame, waiting at most `wait` for it, so that a shutdown is never blocked.
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError>;

    /// Called while no frame is wanted. A camera takes its next frame, waiting at most `wait`, and drops it undecoded, so that
    /// the next wanted frame is a fresh one. A source that makes its frames when asked returns at once and loses nothing.
    fn pass(&mut self, _wait: Duration) -> Result<SourceEvent, CaptureError> {
        Ok(SourceEvent::NotYet)
    }

    /// From now on only frames exposed at `moment` or later are handed on. A source that makes its frames when asked has
    /// nothing to do.
    fn not_before(&mut self, _moment: Instant) {}

    /// One line for the journal: what is read, and from where.
    fn describe(&self) -> String;

    /// The files that the source does not read, counted in words, where it is a folder that holds such files.
    fn left_out(&self) -> Option<String> {
        None
    }

    /// The camera, once it was opened.
    fn camera(&self) -> Option<Arc<CameraInfo>> {
        None
    }

    fn drops(&self) -> Drops {
        Drops::default()
    }
}

/// The source itself cannot go on (one bad frame is a `BadFrame` and not this).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("source: {path}: {why}; {allowed}")]
    Folder { path: String, why: String, allowed: String },
    #[error("source: {key} = {value}: {why}; {allowed}")]
    Setting { key: &'static str, value: String, why: String, allowed: String },
}
