//! A Video4Linux camera as a source of frames.
//!
//! Only this module knows nokhwa and v4l. nokhwa 0.10 lists the nodes ([`devices`]); everything else uses v4l, the crate
//! below it. The reasons: nokhwa sets a format on each camera that it describes, opens cameras by number, does not know UYVY
//! and 8-bit GREY, refuses fractional rates, waits for a frame without limit, and hides the driver's sequence numbers,
//! error flags and lengths. Two panics of v4l are avoided: on controls of a kind that it does not know and on names that
//! are not UTF-8 (`ioctl` asks instead), and on a stream that cannot be stopped (`stream`).
//!
//! Guarantees: an absent, busy or forbidden camera is a state with a reason and does not keep the program from starting.
//! The name is resolved at each open, so a camera that comes back under another number is found again. No call
//! waits longer than its limit, even if the driver hangs. No frame is handed on that the driver marks as damaged, that is
//! cut off, that repeats the frame before, or that is dark or saturated; such frames are counted.
//! Leaves out: multi-planar devices, more than 8 bits a sample, Bayer, H.264, interlaced fields, network cameras.
//! Costs: a raw 1280x720 frame converts in a few milliseconds, a JPEG of that size decodes in about ten. Comparing a
//! frame with the one before needs one copy of it.

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

pub(crate) use describe::{
    ControlDescription, Description, FormatDescription, RateRange, SizeDescription, describe,
};
pub(crate) use find::{Device, device, devices};
pub(crate) use frame_checks::FrameLimits;
pub(crate) use pixel_format::PixelFormat;
pub(crate) use settings::CameraSettings;
pub(crate) use source::CameraSource;
