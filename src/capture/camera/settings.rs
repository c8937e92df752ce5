//! The settings of a camera: which one to open, and how to set it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::frame_checks::FrameLimits;
use super::pixel_format::PixelFormat;

/// The settings of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// A name below `/dev/v4l/by-id` or `by-path`, or a node.
    pub device: PathBuf,
    /// Width and height; `None`: as the camera is set.
    pub size: Option<(u32, u32)>,
    /// `None`: as the camera is set.
    pub frames_per_second: Option<f64>,
    /// In the order of preference. Empty: the first readable format that the camera offers.
    pub formats: Vec<PixelFormat>,
    /// Values by the driver's name in `snake_case`.
    pub controls: BTreeMap<String, i64>,
    pub limits: FrameLimits,
    /// Format and size that the detector was calibrated with, such as `YUYV 640x480`; no other is accepted.
    pub calibrated: Option<String>,
}

impl CameraSettings {
    /// A camera as it is set, with any format that can be read.
    pub fn of(device: PathBuf) -> Self {
        Self {
            device,
            size: None,
            frames_per_second: None,
            formats: Vec::new(),
            controls: BTreeMap::new(),
            limits: FrameLimits::default(),
            calibrated: None,
        }
    }

    /// Whether the device is named by its number, which may change when something is plugged in.
    pub fn device_may_move(&self) -> bool {
        self.device.to_str().is_some_and(|name| name.starts_with("/dev/video"))
    }
}
