//! Where frames come from: one trait, [`FrameSource`], and the [`Frame`] that it hands on.
//!
//! Guarantees: a frame is stamped once, here, with the wall clock and the monotonic clock; what the
//! camera or the file really held travels along unchanged as [`Frame::encoded`] so that evidence can
//! show it; a picture that could not be read is still a frame (a part stood there), with the reason in
//! the place of the picture, so it ends as an `abstain` verdict and never as silence.
//! Leaves out: every change of the picture (see `preprocess`), queues and threads (see `agent`).

pub mod camera;
pub mod decode;
pub mod encode;
pub mod folder;
pub mod gate;
mod pace;
pub mod simulator;
pub mod trigger;

use std::sync::Arc;
use std::time::{Duration, Instant};

/// One look at one part.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Counts the frames of this source from 1, dropped ones included.
    pub source_seq: u64,
    pub captured_at: Stamp,
    /// What the line calls the part; the file name (relative path) for a folder.
    pub part_id: Option<String>,
    /// What the line calls this measurement of it: given with a trigger.
    pub meas_id: Option<String>,
    /// The decoded picture, or why there is none.
    pub picture: Result<Picture, BadFrame>,
    /// The bytes as captured (a file's content); `None` where the source made raw pixels.
    pub encoded: Option<Arc<[u8]>>,
    /// What the source knows about the part. Only simulators and labelled folders know anything;
    /// no stage before the verdict may read it.
    pub truth: Option<Truth>,
}

/// The time of capture on both clocks (invariant: time is data, stamped once).
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub wall: jiff::Timestamp,
    pub monotonic: Instant,
}

impl Stamp {
    pub fn now() -> Self {
        Self { wall: jiff::Timestamp::now(), monotonic: Instant::now() }
    }
}

/// A decoded picture: `height` rows of `width` pixels of 1 (grey) or 3 (RGB) interleaved samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub channels: Channels,
    pub samples: Samples,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channels {
    Grey,
    Rgb,
}

/// Samples as the decoder gave them; full scale is 255 or 65535.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// Why a frame has no usable picture. The word of each kind is part of the contract (`reason`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("frame: {0}: empty file; a PNG, JPEG or BMP picture is needed")]
    Empty(String),
    #[error("frame: {0}: cut off before its end marker; the file or the transfer is broken")]
    Truncated(String),
    #[error("frame: {name}: cannot be decoded: {why}; a PNG, JPEG or BMP picture is needed")]
    Undecodable { name: String, why: String },
    #[error(
        "frame: {name}: {width}x{height} pixels; 8 to 16384 a side and at most 100 megapixels are accepted"
    )]
    Size { name: String, width: u32, height: u32 },
    #[error("frame: {name}: cannot be read: {why}")]
    Unreadable { name: String, why: String },
}

/// What a labelled source knows: the class folder's name (`good` or a kind of defect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub kind: String,
}

impl Truth {
    pub fn is_defect(&self) -> bool {
        self.kind != "good"
    }
}

/// What asking a source for its next frame gave.
#[derive(Debug)]
pub enum Next {
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
pub struct Camera {
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
    fn next(&mut self, wait: Duration) -> Result<Next, CaptureError>;

    /// Nobody wants a frame at present. A source that runs by itself takes its next one, waiting at most `wait`, and
    /// throws it away undecoded, so that the next one wanted is a fresh one; the others return at once and lose
    /// nothing.
    fn pass(&mut self, _wait: Duration) -> Result<Next, CaptureError> {
        Ok(Next::NotYet)
    }

    /// From now on only frames exposed at `moment` or later are handed on. Nothing for a source that makes its frames
    /// when asked.
    fn not_before(&mut self, _moment: Instant) {}

    /// One line for the log and `status`: what is read, from where.
    fn describe(&self) -> String;

    /// The camera, once it was opened.
    fn camera(&self) -> Option<Arc<Camera>> {
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
