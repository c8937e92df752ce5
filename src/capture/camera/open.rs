//! Opens a camera by its name. The result is a stream of frames as negotiated, or the reason why there is none.
//!
//! Guarantees: the name is resolved each time. A format other than the calibrated one is refused. Every failure has a
//! sentence that says what to do.
//! Costs: it may hang in a driver, so it runs on a separate thread (see `driver_call`).

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use super::driver_call::DriverCall;
use super::negotiate::{Negotiated, NotAgreed, negotiate};
use super::pixels::Layout;
use super::stream::Stream;
use super::why_lost::{lost, no_capture};
use super::{CameraSettings, controls, ioctl};
use crate::capture::{CameraInfo, Trouble, TroubleKind};

/// The time between two checks of the controls.
pub(super) const LOOK_AT_CONTROLS: Duration = Duration::from_secs(3);

/// A camera that gives frames.
pub(super) struct OpenCamera {
    pub(super) stream: Stream,
    pub(super) device: Arc<v4l::Device>,
    pub(super) negotiated: Negotiated,
    pub(super) info: CameraInfo,
    pub(super) look_at_controls: Instant,
    pub(super) looking: Option<DriverCall<Vec<String>>>,
}

/// Opens the camera that the name leads to at this moment, and sets it as configured.
pub(super) fn open(settings: &CameraSettings) -> Result<OpenCamera, Trouble> {
    let lost = |error: io::Error| lost(&settings.device, &error);
    let unfit = |kind, why: String| Trouble {
        kind,
        reason: format!("source.device = {}: {why}", settings.device.display()),
    };
    let path = fs::canonicalize(&settings.device).map_err(lost)?;
    if !fs::metadata(&path).map_err(lost)?.file_type().is_char_device() {
        return Err(lost(io::Error::from_raw_os_error(libc::ENOTTY)));
    }
    let device = v4l::Device::with_path(&path).map_err(lost)?;
    let identity = ioctl::identity(&device).map_err(lost)?;
    if !identity.captures {
        return Err(unfit(TroubleKind::Lost, no_capture(&identity)));
    }
    let negotiated = negotiate(&device, settings).map_err(|not| match not {
        NotAgreed::Io(error) => lost(error),
        NotAgreed::Unfit(why) => unfit(TroubleKind::Broken, why),
    })?;
    let Layout { format, width, height, .. } = negotiated.layout;
    refuse_uncalibrated(&format!("{format} {width}x{height}"), settings)?;
    controls::set(&device, &settings.controls);
    let info = CameraInfo {
        device: settings.device.display().to_string(),
        path: path.display().to_string(),
        driver: identity.driver,
        format: format.word().to_owned(),
        width,
        height,
        frames_per_second: negotiated.frames_per_second.or(settings.frames_per_second).unwrap_or_default(),
        controls_drifted: controls::drifted(&device, &settings.controls),
    };
    let stream = Stream::start(&device).map_err(lost)?;
    let device = Arc::new(device);
    Ok(OpenCamera {
        stream,
        device,
        negotiated,
        info,
        look_at_controls: Instant::now() + LOOK_AT_CONTROLS,
        looking: None,
    })
}

/// Refuses a format other than the calibrated one. It has other noise and other edges, so that the threshold of the
/// calibration does not apply.
fn refuse_uncalibrated(given: &str, settings: &CameraSettings) -> Result<(), Trouble> {
    match &settings.calibrated {
        Some(calibrated) if calibrated != given => Err(Trouble {
            kind: TroubleKind::Refused,
            reason: format!(
                "source.device = {}: the camera gives {given}, the detector was calibrated with {calibrated}; set format, width_px and height_px to that, or calibrate with pictures of {given}",
                settings.device.display()
            ),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_than_the_calibrated_is_refused_and_both_are_named() {
        let settings = |calibrated: Option<&str>| CameraSettings {
            calibrated: calibrated.map(str::to_owned),
            ..CameraSettings::of("/dev/v4l/by-id/usb-x".into())
        };
        assert_eq!(refuse_uncalibrated("MJPG 640x480", &settings(None)), Ok(()));
        assert_eq!(refuse_uncalibrated("MJPG 640x480", &settings(Some("MJPG 640x480"))), Ok(()));
        let refused = refuse_uncalibrated("MJPG 640x480", &settings(Some("YUYV 640x480"))).unwrap_err();
        assert_eq!(refused.kind, TroubleKind::Refused);
        let reason = refused.reason;
        assert!(reason.contains("gives MJPG 640x480") && reason.contains("with YUYV 640x480"), "{reason}");
    }
}
