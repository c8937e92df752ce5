//! A [`Frame`]: one picture of one part as the source delivered it, with its time and what is known of the part.
//!
//! Guarantees: the time is stamped once, at capture, on both clocks. A picture that could not be read is still a frame,
//! with the reason in place of the picture.

use std::sync::Arc;
use std::time::Instant;

/// What a source delivers: one picture of one part, with its time.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Counts the frames of this source from 1, dropped ones included.
    pub source_seq: u64,
    pub captured_at: Stamp,
    /// The line's name for the part; in a folder the relative path of the file.
    pub part_id: Option<String>,
    /// The line's name for this measurement, given with a trigger.
    pub meas_id: Option<String>,
    /// The decoded picture, or why there is none.
    pub picture: Result<Picture, BadFrame>,
    /// The bytes as captured (a file's content); `None` where the source made raw pixels.
    pub encoded: Option<Arc<[u8]>>,
    /// The label of the part, where the source has one: simulators and labelled folders do. No stage before the verdict
    /// may read it.
    pub truth: Option<GroundTruth>,
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

impl Picture {
    /// The largest sample of a 16-bit picture; `None` for one of 8 bits, which always fills its range.
    pub fn largest_of_sixteen_bits(&self) -> Option<u16> {
        match &self.samples {
            Samples::Eight(_) => None,
            Samples::Sixteen(samples) => samples.iter().copied().max(),
        }
    }
}

/// Samples as the decoder gave them. White is 255, or what the bundle says for 16 bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// Why a frame has no usable picture. The word of each kind is part of the contract (`reason`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("frame: {0}: empty file; a PNG, JPEG, BMP or TIFF picture is needed")]
    Empty(String),
    #[error("frame: {0}: cut off before its end marker; the file or the transfer is broken")]
    Truncated(String),
    #[error("frame: {name}: damaged: {why}; the file or the transfer is broken")]
    Damaged { name: String, why: String },
    #[error("frame: {name}: cannot be decoded: {why}; a PNG, JPEG, BMP or TIFF picture is needed")]
    Undecodable { name: String, why: String },
    #[error(
        "frame: {name}: {width}x{height} pixels; 8 to 16384 a side and at most {} megapixels are accepted",
        *pixels as f64 / 1e6
    )]
    Size { name: String, width: u32, height: u32, pixels: u64 },
    #[error("frame: {name}: cannot be read: {why}")]
    Unreadable { name: String, why: String },
}

/// The label of a part: the name of its class folder, `good` or a kind of defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroundTruth {
    pub kind: String,
}

impl GroundTruth {
    pub fn is_defect(&self) -> bool {
        self.kind != "good"
    }
}
