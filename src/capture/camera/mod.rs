//! A Video4Linux camera as a source of frames.
//!
//! The only module that knows nokhwa and v4l. nokhwa 0.10 lists the nodes ([`devices`]); all else goes through v4l,
//! the crate beneath it, since nokhwa sets a format on whatever it opens to describe it, opens by number, knows no
//! UYVY and no 8-bit GREY, refuses fractional rates, waits for a frame for ever, and hides the driver's sequence
//! numbers, error flags and lengths. Of v4l three things are gone round: it panics on controls of kinds that are
//! newer than itself and on names that are not UTF-8 (`ioctl` asks instead), and when a stream cannot be stopped
//! (`stream`).
//!
//! Guarantees: an absent, busy or forbidden camera is a state with its reason and never an error of the start; the
//! name is resolved at each open, so a camera that comes back under another number is the same camera; nothing here
//! waits longer than it was told, whatever the driver does; no frame that the driver marks as broken, that is cut
//! off, that repeats the one before, or that is dark or saturated is handed on; what is held back is counted.
//! Leaves out: multi-planar devices, more than 8 bits a sample, Bayer, H.264, interlaced fields, network cameras.
//! Costs: raw 1280x720 converts in a few milliseconds, a JPEG of that size decodes in about ten; comparing a frame
//! with the one before takes one copy of it.

mod aside;
mod controls;
mod describe;
mod find;
mod ioctl;
mod jpeg;
mod negotiate;
mod open;
mod pixels;
mod source;
mod stream;
mod truth;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use describe::{ControlDescription, Description, FormatDescription, Rate, SizeDescription, describe};
pub use find::{Device, device, devices};
pub use pixels::Format;
pub use source::CameraSource;
pub use truth::Rules;

/// Which camera, and how it is to be set.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// A name below `/dev/v4l/by-id` or `by-path`, or a node.
    pub device: PathBuf,
    /// Width and height; `None`: as the camera is set.
    pub size: Option<(u32, u32)>,
    /// `None`: as the camera is set.
    pub frames_per_second: Option<f64>,
    /// In the order of preference; empty: the first that the camera offers of those that can be read.
    pub formats: Vec<Format>,
    /// Values by the driver's name in `snake_case`.
    pub controls: BTreeMap<String, i64>,
    pub rules: Rules,
    /// Format and size that the detector was calibrated with, such as `YUYV 640x480`; no other is accepted.
    pub calibrated: Option<String>,
}

impl CameraSettings {
    /// A camera with nothing asked of it.
    pub fn of(device: PathBuf) -> Self {
        Self {
            device,
            size: None,
            frames_per_second: None,
            formats: Vec::new(),
            controls: BTreeMap::new(),
            rules: Rules::default(),
            calibrated: None,
        }
    }

    /// Named by a number, which is given anew whenever something is plugged in.
    pub fn device_may_move(&self) -> bool {
        self.device.to_str().is_some_and(|name| name.starts_with("/dev/video"))
    }
}
