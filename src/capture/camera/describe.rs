//! Asks a camera what it can do: formats, sizes, rates and controls.
//!
//! Guarantees: reads only, and changes nothing in the camera.

use std::io;
use std::path::Path;

use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::{Device, Fraction};

use super::controls::typed_name;
use super::ioctl;
use super::pixel_format::PixelFormat;
use super::why_lost::{no_capture, why_lost};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    pub driver: String,
    pub card: String,
    pub bus: String,
    pub formats: Vec<FormatDescription>,
    pub controls: Vec<ControlDescription>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FormatDescription {
    /// The four characters of V4L2.
    pub word: String,
    pub name: String,
    /// Whether certiscope reads it.
    pub readable: bool,
    /// Filled for readable formats only, because asking for sizes takes long.
    pub sizes: Vec<SizeDescription>,
}

/// One size, or a range of sizes in steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SizeDescription {
    pub smallest: (u32, u32),
    pub largest: (u32, u32),
    pub step: (u32, u32),
    /// The rates at the largest size.
    pub rates: Vec<RateRange>,
}

/// Frames a second. The two differ where every rate between them is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RateRange {
    pub slowest: f64,
    pub fastest: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ControlDescription {
    /// As the configuration names it.
    pub name: String,
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    pub value: Option<i64>,
    pub read_only: bool,
    /// An automatic mode controls it at present.
    pub inactive: bool,
    /// The values of a menu, with their meaning.
    pub items: Vec<(u32, String)>,
}

/// Opens the node and asks it. An error is a sentence for the user.
pub(crate) fn describe(path: &Path) -> Result<Description, String> {
    asked(path).map_err(|error| why_lost(&error))
}

fn asked(path: &Path) -> io::Result<Description> {
    let device = Device::with_path(path)?;
    let identity = ioctl::identity(&device)?;
    if !identity.captures {
        return Err(io::Error::other(no_capture(&identity)));
    }
    let formats = device.enum_formats()?.into_iter().map(|format| {
        let word = format.fourcc.to_string();
        let readable = PixelFormat::from_word(&word).is_some();
        let sizes = if readable { sizes(&device, format.fourcc) } else { Vec::new() };
        FormatDescription { word, name: format.description, readable, sizes }
    });
    let formats = formats.collect();
    let controls = ioctl::controls(&device)?.into_iter().map(|control| ControlDescription {
        name: typed_name(&control.name),
        minimum: control.minimum,
        maximum: control.maximum,
        step: control.step,
        default: control.default,
        value: ioctl::value(&device, control.id).ok(),
        read_only: control.read_only,
        inactive: control.inactive,
        items: control.items.into_iter().map(|(index, item)| (index, item.to_string())).collect(),
    });
    let controls = controls.collect();
    let ioctl::Identity { driver, card, bus, .. } = identity;
    Ok(Description { driver, card, bus, formats, controls })
}

fn sizes(device: &Device, fourcc: v4l::FourCC) -> Vec<SizeDescription> {
    // A driver that lists no sizes accepts any.
    let sizes = device.enum_framesizes(fourcc).unwrap_or_default();
    let described = sizes.into_iter().map(|size| {
        let (smallest, largest, step) = match size.size {
            FrameSizeEnum::Discrete(size) => ((size.width, size.height), (size.width, size.height), (1, 1)),
            FrameSizeEnum::Stepwise(all) => (
                (all.min_width, all.min_height),
                (all.max_width, all.max_height),
                (all.step_width, all.step_height),
            ),
        };
        SizeDescription { smallest, largest, step, rates: rates(device, fourcc, largest) }
    });
    described.collect()
}

fn rates(device: &Device, fourcc: v4l::FourCC, (width, height): (u32, u32)) -> Vec<RateRange> {
    let intervals = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
    let rate = |interval: Fraction| f64::from(interval.denominator) / f64::from(interval.numerator.max(1));
    let rates = intervals.into_iter().map(|interval| match interval.interval {
        FrameIntervalEnum::Discrete(interval) => {
            RateRange { slowest: rate(interval), fastest: rate(interval) }
        }
        FrameIntervalEnum::Stepwise(all) => RateRange { slowest: rate(all.max), fastest: rate(all.min) },
    });
    rates.collect()
}
