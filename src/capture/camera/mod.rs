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

mod controls;
mod describe;
mod driver_call;
mod find;
mod frame_checks;
mod ioctl;
mod motion_jpeg;
mod negotiate;
mod open;
mod pixel_format;
mod pixels;
mod reconnect;
mod settings;
mod source;
mod stream;
mod why_lost;

pub use describe::{
    ControlDescription, Description, FormatDescription, RateRange, SizeDescription, describe,
};
pub use find::{Device, device, devices};
pub use frame_checks::FrameLimits;
pub use pixel_format::PixelFormat;
pub use settings::CameraSettings;
pub use source::CameraSource;
