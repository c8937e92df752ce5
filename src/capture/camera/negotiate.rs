//! Negotiates format, size and rate with a camera.
//!
//! Guarantees: the result is what the camera reports after it was set, not what was asked for. The wanted formats are
//! tried in their order, and the first with the wanted size and rate is taken. If none has the rate, the first with the
//! size is taken, at the rate it has.

use std::io;

use v4l::parameters::Capabilities;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Fraction};

use super::CameraSettings;
use super::pixel_format::PixelFormat;
use super::pixels::{Coding, Layout};

/// What was negotiated with the camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Negotiated {
    pub layout: Layout,
    /// `None` where the driver does not say.
    pub frames_per_second: Option<f64>,
}

#[derive(Debug)]
pub(super) enum NotAgreed {
    Io(io::Error),
    /// The camera cannot do it; a sentence says why.
    Unfit(String),
}

impl From<io::Error> for NotAgreed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) fn negotiate(device: &Device, settings: &CameraSettings) -> Result<Negotiated, NotAgreed> {
    let now = device.format()?;
    let (width, height) = settings.size.unwrap_or((now.width, now.height));
    let offered: Vec<String> =
        device.enum_formats()?.iter().map(|format| format.fourcc.to_string()).collect();
    let (mut slower, mut instead) = (None, Vec::new());
    for format in candidates(&settings.formats, &offered).map_err(NotAgreed::Unfit)? {
        let fourcc = v4l::FourCC::new(format.word().as_bytes().try_into().expect("four characters"));
        // Stride and size in bytes are chosen by the driver.
        let request = v4l::Format { width, height, fourcc, stride: 0, size: 0, ..now };
        let got = device.set_format(&request)?;
        if got.fourcc != fourcc || (settings.size.is_some() && (got.width, got.height) != (width, height)) {
            instead.push(format!("{}x{} in {}", got.width, got.height, got.fourcc));
            continue;
        }
        let frames_per_second = set_rate(device, settings.frames_per_second);
        if has_rate(settings.frames_per_second, frames_per_second) {
            return Ok(agreed(format, &got, frames_per_second));
        }
        slower.get_or_insert((format, request));
    }
    match slower {
        Some((format, request)) => {
            let got = device.set_format(&request)?;
            Ok(agreed(format, &got, set_rate(device, settings.frames_per_second)))
        }
        None => Err(NotAgreed::Unfit(format!(
            "{width}x{height}: the camera does not do this size, it gives {} instead; the sizes that `certiscope cameras` lists are allowed",
            instead.join(", ")
        ))),
    }
}

/// The first few formats that a camera offers. Some offer a hundred.
fn in_short(offered: &[String]) -> String {
    const SHOWN: usize = 8;
    // The four characters of some formats are not readable text.
    let words: Vec<&str> = offered.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect();
    match words.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", words[..SHOWN].join(", "), count - SHOWN),
        _ => words.join(", "),
    }
}

fn agreed(format: PixelFormat, got: &v4l::Format, frames_per_second: Option<f64>) -> Negotiated {
    let coding = Coding::of(got.colorspace, got.quantization);
    let layout = Layout { format, width: got.width, height: got.height, stride: got.stride, coding };
    Negotiated { layout, frames_per_second }
}

/// The formats to try, in their order.
fn candidates(wanted: &[PixelFormat], offered: &[String]) -> Result<Vec<PixelFormat>, String> {
    let offers = |format: &PixelFormat| offered.iter().any(|word| word == format.word());
    let found: Vec<PixelFormat> = if wanted.is_empty() {
        offered.iter().filter_map(|word| PixelFormat::from_word(word)).collect()
    } else {
        wanted.iter().copied().filter(offers).collect()
    };
    if !found.is_empty() {
        return Ok(found);
    }
    let words = |formats: &[PixelFormat]| formats.iter().map(|f| f.word()).collect::<Vec<_>>().join(", ");
    let offered = in_short(offered);
    Err(if wanted.is_empty() {
        format!("formats {offered}: none that can be read; {} can", words(&PixelFormat::ALL))
    } else {
        format!("format {}: the camera does not offer it; it offers {offered}", words(wanted))
    })
}

/// Sets the rate and returns the one that the driver reports. Many drivers report none.
fn set_rate(device: &Device, wanted: Option<f64>) -> Option<f64> {
    let parameters = match wanted {
        Some(rate) => device.set_params(&Parameters::new(interval(rate))),
        None => device.params(),
    };
    let parameters = parameters.ok()?;
    let Fraction { numerator, denominator } = parameters.interval;
    let is_known = parameters.capabilities.contains(Capabilities::TIME_PER_FRAME);
    (is_known && numerator > 0 && denominator > 0).then(|| f64::from(denominator) / f64::from(numerator))
}

/// The time of one frame, to a thousandth of a frame a second.
fn interval(rate: f64) -> Fraction {
    Fraction::new(1000, (1000.0 * rate).round().max(1.0) as u32)
}

/// Whether the rates agree to one in a hundred: 29.97 counts as 30. A driver that reports no rate may have the right one.
fn has_rate(wanted: Option<f64>, got: Option<f64>) -> bool {
    wanted.zip(got).is_none_or(|(wanted, got)| (got / wanted - 1.0).abs() < 0.01)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_preference_decides_and_without_one_the_cameras_own_order() {
        let camera = offered(&["H264", "YUYV", "MJPG"]);
        assert_eq!(
            candidates(&[PixelFormat::Mjpg, PixelFormat::Yuyv], &camera),
            Ok(vec![PixelFormat::Mjpg, PixelFormat::Yuyv])
        );
        assert_eq!(candidates(&[PixelFormat::Grey, PixelFormat::Yuyv], &camera), Ok(vec![PixelFormat::Yuyv]));
        assert_eq!(candidates(&[], &camera), Ok(vec![PixelFormat::Yuyv, PixelFormat::Mjpg]));
    }

    #[test]
    fn a_format_that_is_not_offered_is_refused_with_those_that_are() {
        let error = candidates(&[PixelFormat::Nv12], &offered(&["H264", "YUYV"])).unwrap_err();
        assert!(error.contains("NV12") && error.contains("offers H264, YUYV"), "{error}");
        let many: Vec<String> =
            (0..83).map(|format| format!("F{format:03}")).chain([" ".to_owned()]).collect();
        let error = candidates(&[PixelFormat::Nv12], &many).unwrap_err();
        assert!(
            error.ends_with("offers F000, F001, F002, F003, F004, F005, F006, F007 and 75 more"),
            "{error}"
        );
        let error = candidates(&[], &offered(&["H264"])).unwrap_err();
        assert!(error.contains("formats H264") && error.contains("MJPG, YUYV"), "{error}");
    }

    #[test]
    fn rates_are_fractions() {
        for (rate, numerator, denominator) in [(30.0, 1000, 30_000), (29.97, 1000, 29_970), (0.5, 1000, 500)]
        {
            let Fraction { numerator: n, denominator: d } = interval(rate);
            assert_eq!((n, d), (numerator, denominator));
        }
        assert!(has_rate(Some(30.0), Some(29.97)) && has_rate(None, Some(5.0)) && has_rate(Some(30.0), None));
        assert!(!has_rate(Some(30.0), Some(25.0)) && !has_rate(Some(7.5), Some(15.0)));
    }
}
