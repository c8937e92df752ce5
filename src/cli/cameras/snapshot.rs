//! `certiscope cameras --snapshot`: takes one picture, by the same code as `run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::listing::look_at_all;
use crate::capture::camera::{CameraSettings, CameraSource, FrameLimits, PixelFormat};
use crate::capture::encode::{png, to_image};
use crate::capture::{Frame, FrameSource, SourceEvent};
use crate::cli::output::print_line;
use crate::cli::{Failure, whole_file};

/// How many good frames are skipped first, while the camera adjusts its exposure.
const WARM_UP: usize = 5;
/// How long to wait for good frames.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node of the one camera that can be read.
fn the_only_camera() -> Result<PathBuf, Failure> {
    let mut cameras = look_at_all()?;
    cameras.retain(|seen| {
        seen.description.as_ref().is_ok_and(|it| it.formats.iter().any(|format| format.readable))
    });
    match cameras.as_slice() {
        [only] => Ok(only.device.path.clone()),
        cameras => Err(Failure::stopped(anyhow!(
            "--snapshot: {} cameras that can be read; name the one with --device",
            cameras.len()
        ))),
    }
}

/// Which picture to take.
pub(super) struct SnapshotRequest<'a> {
    pub(super) device: Option<&'a Path>,
    pub(super) format: Option<PixelFormat>,
    pub(super) size: Option<(u32, u32)>,
    pub(super) file: &'a Path,
}

pub(super) fn snapshot(request: &SnapshotRequest<'_>) -> Result<ExitCode, Failure> {
    let &SnapshotRequest { device, format, size, file } = request;
    let device = device.map_or_else(the_only_camera, |device| Ok(device.to_path_buf()))?;
    // The picture is taken even if it is dark or saturated.
    let limits = FrameLimits { frozen_after: 0, dark_below: 0.0, saturated_above: 1.0 };
    let formats = format.into_iter().collect();
    let settings = CameraSettings { size, formats, limits, ..CameraSettings::of(device) };
    let mut source = CameraSource::new(settings);
    let frame = warm_frame(&mut source).map_err(Failure::Stopped)?;
    let jpeg =
        file.extension().is_some_and(|end| ["jpg", "jpeg"].iter().any(|jpg| end.eq_ignore_ascii_case(jpg)));
    let bytes = match (jpeg, &frame.encoded) {
        (true, Some(bytes)) => bytes.to_vec(),
        (true, None) => {
            return Err(Failure::refused(anyhow!(
                "--snapshot {}: this camera sends no JPEG in this format; a name that ends in .png is allowed",
                file.display()
            )));
        }
        (false, _) => {
            let picture = frame.picture.as_ref().map_err(Clone::clone).map_err(Failure::stopped)?;
            png(&to_image(picture).context("the frame").map_err(Failure::Stopped)?)
        }
    };
    whole_file::write(file, &bytes).with_context(|| file.display().to_string()).map_err(Failure::Stopped)?;
    let camera = source.camera().context("the camera").map_err(Failure::Stopped)?;
    print_line!(
        "written: {}, {}x{} {} of {}",
        file.display(),
        camera.width,
        camera.height,
        camera.format,
        camera.path
    );
    Ok(ExitCode::SUCCESS)
}

/// A good frame, after the camera has adjusted its exposure.
fn warm_frame(source: &mut CameraSource) -> anyhow::Result<Frame> {
    let deadline = Instant::now() + PATIENCE;
    let (mut passed, mut trouble) = (0, None);
    while Instant::now() < deadline {
        match source.next(Duration::from_millis(100))? {
            SourceEvent::Frame(frame) if passed == WARM_UP => return Ok(*frame),
            SourceEvent::Frame(_) => passed += 1,
            SourceEvent::Trouble(now) => trouble = Some(now),
            SourceEvent::NotYet | SourceEvent::Passed(_) | SourceEvent::End => {}
        }
    }
    Err(match trouble {
        Some(trouble) => anyhow!("{}", trouble.reason),
        None => anyhow!("the camera gave {passed} good frames in {PATIENCE:?}; more are needed"),
    })
}
