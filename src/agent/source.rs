//! Opens the source that is configured for a station.

use crate::bundle::manifest::CameraFormat;
use crate::capture::camera::{CameraSettings, CameraSource};
use crate::capture::folder::FolderSource;
use crate::capture::simulator::Simulator;
use crate::capture::{CaptureError, FrameSource};
use crate::config::{SourceConfig, SourceKind};

/// Opens the configured source. A camera must deliver the format that the detector was `calibrated` with, if that is known.
pub(crate) fn open_source(
    config: &SourceConfig,
    calibrated: Option<&CameraFormat>,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    Ok(match &config.kind {
        SourceKind::Folder(settings) => Box::new(FolderSource::open(settings.clone())?),
        SourceKind::Simulator(settings) => Box::new(Simulator::new(settings.clone())?),
        SourceKind::Camera(settings) => {
            if settings.device_may_move() {
                tracing::warn!(
                    "source.device = {}: the number may change when another camera is plugged in; use a by-id or by-path name that `certiscope cameras` lists",
                    settings.device.display()
                );
            }
            let calibrated = calibrated.map(ToString::to_string);
            Box::new(CameraSource::new(CameraSettings { calibrated, ..settings.clone() }))
        }
    })
}
