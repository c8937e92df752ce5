//! The camera as a [`FrameSource`]: takes its frames and checks them, and opens it again when it is lost.
//!
//! This file only takes buffers, which cannot hang; every other call to the driver is in `reconnect`.
//! Guarantees: a frame that has waited while a newer one came is dropped.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame_checks::{FrameChecks, Judged};
use super::open::OpenCamera;
use super::pixel_format::PixelFormat;
use super::reconnect::{CameraConnection, OpenProgress};
use super::settings::CameraSettings;
use crate::capture::{CameraInfo, CaptureError, Drops, Frame, FrameSource, SourceEvent, Trouble};

/// How long a silent stream is left alone before it is opened again, which wakes some cameras.
const REOPEN_AFTER: Duration = Duration::from_secs(10);

pub(crate) struct CameraSource {
    connection: CameraConnection,
    checks: FrameChecks,
    not_before: Option<Instant>,
}

/// What the next frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameUse {
    Inspect,
    /// No frame is wanted: it is taken so that the next one is fresh.
    Pass,
}

impl CameraSource {
    /// Opens nothing yet. A camera that is absent is reported as trouble when a frame is asked for.
    pub(crate) fn new(settings: CameraSettings) -> Self {
        Self {
            checks: FrameChecks::new(settings.limits),
            connection: CameraConnection::new(settings),
            not_before: None,
        }
    }

    /// Opens the camera or takes a buffer, again and again until there is something to report or `wait` is over.
    fn next_event(&mut self, wait: Duration, frame_use: FrameUse) -> SourceEvent {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = match self.connection.opened() {
                Some(_) => self.take(left, frame_use),
                None => self.reopen(left),
            };
            match event {
                Some(event) => return event,
                None if left.is_zero() => return SourceEvent::NotYet,
                None => {}
            }
        }
    }

    fn reopen(&mut self, left: Duration) -> Option<SourceEvent> {
        match self.connection.reopen(left) {
            OpenProgress::Opened { frames_per_second } => {
                self.checks.begin(frames_per_second, Instant::now());
                None
            }
            OpenProgress::Waiting(trouble) => trouble.map(SourceEvent::Trouble),
        }
    }

    fn take(&mut self, left: Duration, frame_use: FrameUse) -> Option<SourceEvent> {
        self.connection.watch_controls();
        let open = self.connection.opened()?;
        match take_buffer(open, &mut self.checks, self.not_before, left, frame_use) {
            Ok(BufferOutcome::Event(event)) => Some(event),
            Ok(BufferOutcome::Dropped) => None,
            Ok(BufferOutcome::Silent(trouble)) => {
                if self.checks.silent(Instant::now()) > REOPEN_AFTER {
                    self.connection.restart(trouble.clone());
                }
                Some(SourceEvent::Trouble(trouble))
            }
            Err(error) => {
                tracing::debug!("camera: {error}");
                self.connection.lose(&error);
                self.connection.trouble().map(SourceEvent::Trouble)
            }
        }
    }
}

impl FrameSource for CameraSource {
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        Ok(self.next_event(wait, FrameUse::Inspect))
    }

    fn pass(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        Ok(self.next_event(wait, FrameUse::Pass))
    }

    fn not_before(&mut self, moment: Instant) {
        self.not_before = Some(moment);
    }

    fn describe(&self) -> String {
        format!("camera {}", self.connection.settings().device.display())
    }

    fn camera(&self) -> Option<Arc<CameraInfo>> {
        self.connection.info()
    }

    fn drops(&self) -> Drops {
        self.checks.drops()
    }
}

/// The result of waiting for a buffer.
enum BufferOutcome {
    Event(SourceEvent),
    /// Nothing to hand on and nothing to report.
    Dropped,
    /// No frame for too long.
    Silent(Trouble),
}

/// Takes one buffer from the driver and checks it.
fn take_buffer(
    open: &mut OpenCamera,
    checks: &mut FrameChecks,
    not_before: Option<Instant>,
    left: Duration,
    frame_use: FrameUse,
) -> io::Result<BufferOutcome> {
    let layout = open.negotiated.layout;
    let Some(buffer) = open.stream.next(left)? else {
        return Ok(checks.silence(Instant::now()).map_or(BufferOutcome::Dropped, BufferOutcome::Silent));
    };
    let source_seq = checks.arrived(buffer.sequence, Instant::now());
    match (frame_use, not_before) {
        (FrameUse::Pass, _) if !checks.is_troubled() && !buffer.marked_broken => {
            return Ok(BufferOutcome::Event(SourceEvent::Passed(buffer.exposed)));
        }
        (FrameUse::Pass, _) => {}
        // The first frame after that time is handed on, even if a newer one has come since then.
        (FrameUse::Inspect, Some(moment)) if !checks.is_exposed_since(&buffer, moment) => {
            return Ok(BufferOutcome::Dropped);
        }
        (FrameUse::Inspect, Some(_)) => {}
        (FrameUse::Inspect, None) if checks.is_overtaken(&buffer) => return Ok(BufferOutcome::Dropped),
        (FrameUse::Inspect, None) => {}
    }
    let picture = match checks.judge(&buffer, |bytes| layout.picture(bytes)) {
        Judged::Held(None) => return Ok(BufferOutcome::Dropped),
        Judged::Held(Some(trouble)) => return Ok(BufferOutcome::Event(SourceEvent::Trouble(trouble))),
        Judged::Good(_) if frame_use == FrameUse::Pass => {
            return Ok(BufferOutcome::Event(SourceEvent::Passed(buffer.exposed)));
        }
        Judged::Good(picture) => picture,
    };
    Ok(BufferOutcome::Event(SourceEvent::Frame(Box::new(Frame {
        source_seq,
        captured_at: buffer.exposed,
        part_id: None,
        meas_id: None,
        picture: Ok(picture),
        encoded: (layout.format == PixelFormat::Mjpg).then(|| Arc::from(buffer.bytes)),
        truth: None,
    }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::TroubleKind;

    fn source(device: &str) -> CameraSource {
        CameraSource::new(CameraSettings::of(device.into()))
    }

    /// Waits for the source to report trouble.
    fn trouble(source: &mut CameraSource) -> Trouble {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match source.next(Duration::from_millis(20)).unwrap() {
                SourceEvent::Trouble(trouble) => return trouble,
                SourceEvent::NotYet => assert!(Instant::now() < deadline, "no trouble"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_absent_camera_is_a_state_with_its_reason_and_blocks_no_caller() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("usb-absent").display().to_string();
        let mut source = source(&absent);
        assert_eq!(source.describe(), format!("camera {absent}"));
        let lost = trouble(&mut source);
        assert_eq!(lost.kind, TroubleKind::Lost);
        assert!(lost.reason.contains(&absent) && lost.reason.contains("not there"), "{}", lost.reason);
        for _ in 0..30 {
            let begun = Instant::now();
            let next = source.next(Duration::from_millis(10)).unwrap();
            assert!(matches!(next, SourceEvent::Trouble(_)), "{next:?}");
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        assert!(source.camera().is_none());
    }

    #[test]
    fn a_device_that_is_no_camera_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for device in ["/dev/null", file.path().to_str().unwrap(), "/dev"] {
            let lost = trouble(&mut source(device));
            assert_eq!(lost.kind, TroubleKind::Lost);
            assert!(lost.reason.contains("no camera"), "{device}: {}", lost.reason);
        }
    }
}
