//! Opens the source that is configured for a station.

use crate::bundle::Bundle;
use crate::capture::camera::{CameraSettings, CameraSource};
use crate::capture::decode::DecodeLimits;
use crate::capture::folder::FolderSource;
use crate::capture::simulator::Simulator;
use crate::capture::{CaptureError, FrameSource};
use crate::config::{SourceConfig, SourceKind};
use crate::preprocess::Region;

/// Opens the configured source. A camera must deliver the format that `bundle` was calibrated with, if that is known. Files may be
/// little larger than the pictures that it was calibrated with; `region` is the part of them that is inspected.
pub(crate) fn open_source(
    config: &SourceConfig,
    bundle: Option<&Bundle>,
    region: Option<Region>,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    Ok(match &config.kind {
        SourceKind::Folder(settings) => {
            Box::new(FolderSource::open(settings.clone())?.within(decode_limits(bundle, region)))
        }
        SourceKind::Simulator(settings) => Box::new(Simulator::new(settings.clone())?),
        SourceKind::Camera(settings) => {
            if settings.device_may_move() {
                tracing::warn!(
                    "source.device = {}: the number may change when another camera is plugged in; use a by-id or by-path name that `certiscope cameras` lists",
                    settings.device.display()
                );
            }
            let calibrated = bundle.and_then(Bundle::camera).map(ToString::to_string);
            Box::new(CameraSource::new(CameraSettings { calibrated, ..settings.clone() }))
        }
    })
}

/// What may be decoded. The size of whole frames is known only where they are inspected whole.
pub(crate) fn decode_limits(bundle: Option<&Bundle>, region: Option<Region>) -> DecodeLimits {
    let size = bundle.filter(|_| region.is_none()).and_then(Bundle::picture_range).and_then(|it| it.size);
    size.map_or_else(DecodeLimits::default, DecodeLimits::for_pictures_of)
}
