//! The camera as a [`FrameSource`]: opens it, takes its frames, opens it again when it is gone.
//!
//! All that may hang in a driver (open, set, read back, close) is done aside, one at a time; only taking buffers, which
//! does not, is done here. A frame that waited while a newer one came is thrown away.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use super::aside::Aside;
use super::describe::no_capture;
use super::negotiate::{Negotiated, NotAgreed, negotiate};
use super::pixels::Layout;
use super::stream::Stream;
use super::truth::{Judged, Truth};
use super::{CameraSettings, Format, controls, ioctl};
use crate::capture::{Camera, CaptureError, Drops, Frame, FrameSource, Next, Trouble, TroubleKind};

/// Between two tries to open: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// An opening that takes longer is told.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// How long a silent stream is left alone before it is opened anew, which wakes some cameras.
const REOPEN_AFTER: Duration = Duration::from_secs(10);
/// Between two looks at the controls.
const CONTROLS: Duration = Duration::from_secs(3);
/// What the end of the source waits for a driver to let go.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

pub struct CameraSource {
    settings: Arc<CameraSettings>,
    state: State,
    /// Still on its way out; nothing is opened before.
    closing: Option<Aside<()>>,
    /// Why there is no camera, as far as is known.
    lost: Option<Trouble>,
    tries: u32,
    truth: Truth,
    camera: Option<Arc<Camera>>,
    not_before: Option<Instant>,
}

enum State {
    Closed { until: Instant },
    Opening { since: Instant, outcome: Aside<Result<Open, Trouble>> },
    Open(Box<Open>),
}

/// A camera that streams.
struct Open {
    stream: Stream,
    device: Arc<v4l::Device>,
    negotiated: Negotiated,
    camera: Camera,
    look_at_controls: Instant,
    looking: Option<Aside<Vec<String>>>,
}

/// Whether the next frame is for inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

impl CameraSource {
    /// Opens nothing yet: a camera that is absent is trouble of the first frame.
    pub fn new(settings: CameraSettings) -> Self {
        Self {
            state: State::Closed { until: Instant::now() },
            closing: None,
            lost: None,
            tries: 0,
            truth: Truth::new(settings.rules),
            camera: None,
            not_before: None,
            settings: Arc::new(settings),
        }
    }

    fn turns(&mut self, wait: Duration, wanted: Wanted) -> Next {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let next = match &self.state {
                State::Closed { until } => self.reopen(*until, left),
                State::Opening { .. } => self.await_opening(left),
                State::Open(_) => self.take(left, wanted),
            };
            match next {
                Some(next) => return next,
                None if left.is_zero() => return Next::NotYet,
                None => {}
            }
        }
    }

    /// Waits for the time of the next try and for what was open to be gone, then begins to open.
    fn reopen(&mut self, at: Instant, left: Duration) -> Option<Next> {
        let pause = at.saturating_duration_since(Instant::now());
        if pause > left {
            std::thread::sleep(left);
            return self.trouble();
        }
        std::thread::sleep(pause);
        if let Some(closing) = &self.closing
            && closing.wait(left - pause).is_none()
        {
            return self.trouble();
        }
        self.closing = None;
        let settings = Arc::clone(&self.settings);
        match Aside::begin("camera open", move || open(&settings)) {
            Ok(outcome) => self.state = State::Opening { since: Instant::now(), outcome },
            Err(error) => self.fail(lost(&self.settings.device, &error)),
        }
        None
    }

    fn await_opening(&mut self, left: Duration) -> Option<Next> {
        let State::Opening { since, outcome } = &self.state else {
            return None;
        };
        match outcome.wait(left) {
            Some(Ok(open)) => {
                let Camera { path, format, width, height, .. } = &open.camera;
                let rate = open.negotiated.frames_per_second;
                tracing::info!(
                    "camera: {path} gives {format} {width}x{height} at {} frames a second",
                    rate_in_words(rate)
                );
                if !open.camera.controls_drifted.is_empty() {
                    tell_drifted(&open.camera.controls_drifted);
                }
                self.truth.begin(rate.or(self.settings.frames_per_second), Instant::now());
                self.camera = Some(Arc::new(open.camera.clone()));
                self.tries = 0;
                self.lost = None;
                self.state = State::Open(Box::new(open));
                None
            }
            Some(Err(trouble)) => {
                self.fail(trouble);
                self.trouble()
            }
            None if since.elapsed() > OPENS_WITHIN => {
                self.lost.get_or_insert_with(|| Trouble {
                    kind: TroubleKind::Lost,
                    reason: format!(
                        "source.device = {}: its driver does not answer; unplug it and plug it in again",
                        self.settings.device.display()
                    ),
                });
                self.trouble()
            }
            None => self.trouble(),
        }
    }

    /// What is known of the trouble; nothing while it is opened for the first time.
    fn trouble(&self) -> Option<Next> {
        self.lost.clone().map(Next::Trouble)
    }

    fn fail(&mut self, trouble: Trouble) {
        let (first, longest) = RETRY;
        let pause = longest.min(first * 2_u32.pow(self.tries.min(8)));
        self.tries += 1;
        self.lost = Some(trouble);
        self.close(Instant::now() + pause);
    }

    /// Lets go of what is open, aside.
    fn close(&mut self, until: Instant) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Closed { until }) {
            // Where no thread can be had, it is let go of right here.
            self.closing = Aside::begin("camera close", move || drop(open)).ok();
        }
    }

    fn take(&mut self, left: Duration, wanted: Wanted) -> Option<Next> {
        self.watch_controls();
        let State::Open(open) = &mut self.state else {
            return None;
        };
        match take_buffer(open, &mut self.truth, self.not_before, left, wanted) {
            Ok(Taken::Next(next)) => Some(next),
            Ok(Taken::Dropped) => None,
            Ok(Taken::Silent(trouble)) => {
                if self.truth.silent(Instant::now()) > REOPEN_AFTER {
                    self.lost = Some(trouble.clone());
                    self.close(Instant::now());
                }
                Some(Next::Trouble(trouble))
            }
            Err(error) => {
                tracing::debug!("camera: {error}");
                self.fail(lost(&self.settings.device, &error));
                self.trouble()
            }
        }
    }

    /// Looks at the controls every few seconds, and tells what has changed.
    fn watch_controls(&mut self) {
        let State::Open(open) = &mut self.state else {
            return;
        };
        if self.settings.controls.is_empty() {
            return;
        }
        if let Some(drifted) = open.looking.as_ref().and_then(|looking| looking.wait(Duration::ZERO)) {
            open.looking = None;
            open.look_at_controls = Instant::now() + CONTROLS;
            if drifted != open.camera.controls_drifted {
                tell_drifted(&drifted);
                open.camera.controls_drifted = drifted;
                self.camera = Some(Arc::new(open.camera.clone()));
            }
        }
        if open.looking.is_none() && Instant::now() >= open.look_at_controls {
            let (device, settings) = (Arc::clone(&open.device), Arc::clone(&self.settings));
            let look = move || controls::drifted(&device, &settings.controls);
            open.looking = Aside::begin("camera controls", look).ok();
        }
    }
}

impl FrameSource for CameraSource {
    fn next(&mut self, wait: Duration) -> Result<Next, CaptureError> {
        Ok(self.turns(wait, Wanted::Yes))
    }

    fn pass(&mut self, wait: Duration) -> Result<Next, CaptureError> {
        Ok(self.turns(wait, Wanted::No))
    }

    fn not_before(&mut self, moment: Instant) {
        self.not_before = Some(moment);
    }

    fn describe(&self) -> String {
        format!("camera {}", self.settings.device.display())
    }

    fn camera(&self) -> Option<Arc<Camera>> {
        self.camera.clone()
    }

    fn drops(&self) -> Drops {
        self.truth.drops()
    }
}

impl Drop for CameraSource {
    fn drop(&mut self) {
        self.close(Instant::now());
        if let Some(closing) = &self.closing {
            closing.wait(CLOSES_WITHIN);
        }
    }
}

/// What came of waiting for a buffer.
enum Taken {
    Next(Next),
    /// Not to be handed on, and nothing to tell.
    Dropped,
    Silent(Trouble),
}

fn tell_drifted(drifted: &[String]) {
    match drifted {
        [] => tracing::info!("camera: its controls hold their values"),
        drifted => tracing::warn!("camera: {}", drifted.join("; ")),
    }
}

/// One buffer from the driver, judged.
fn take_buffer(
    open: &mut Open,
    truth: &mut Truth,
    not_before: Option<Instant>,
    left: Duration,
    wanted: Wanted,
) -> io::Result<Taken> {
    let layout = open.negotiated.layout;
    let Some(buffer) = open.stream.next(left)? else {
        return Ok(truth.silence(Instant::now()).map_or(Taken::Dropped, Taken::Silent));
    };
    let source_seq = truth.arrived(buffer.sequence, Instant::now());
    match (wanted, not_before) {
        (Wanted::No, _) if !truth.is_troubled() && !buffer.marked_broken => {
            return Ok(Taken::Next(Next::Passed(buffer.exposed)));
        }
        (Wanted::No, _) => {}
        // The first after the moment, whatever came since.
        (Wanted::Yes, Some(moment)) if !truth.is_exposed_since(&buffer, moment) => return Ok(Taken::Dropped),
        (Wanted::Yes, Some(_)) => {}
        (Wanted::Yes, None) if truth.is_overtaken(&buffer) => return Ok(Taken::Dropped),
        (Wanted::Yes, None) => {}
    }
    let picture = match truth.judge(&buffer, |bytes| layout.picture(bytes)) {
        Judged::Held(None) => return Ok(Taken::Dropped),
        Judged::Held(Some(trouble)) => return Ok(Taken::Next(Next::Trouble(trouble))),
        Judged::Good(_) if wanted == Wanted::No => return Ok(Taken::Next(Next::Passed(buffer.exposed))),
        Judged::Good(picture) => picture,
    };
    Ok(Taken::Next(Next::Frame(Box::new(Frame {
        source_seq,
        captured_at: buffer.exposed,
        part_id: None,
        meas_id: None,
        picture: Ok(picture),
        encoded: (layout.format == Format::Mjpg).then(|| Arc::from(buffer.bytes)),
        truth: None,
    }))))
}

/// Opens the camera that the name leads to at this moment, and brings it to what is asked for.
fn open(settings: &CameraSettings) -> Result<Open, Trouble> {
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
    let camera = Camera {
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
    Ok(Open {
        stream,
        device,
        negotiated,
        camera,
        look_at_controls: Instant::now() + CONTROLS,
        looking: None,
    })
}

/// Another format has other noise and other edges: its scores are not those of the calibration.
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

/// What a failed call means for who has to act.
pub(super) fn why_lost(error: &io::Error) -> String {
    let words = match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "not there; plug it in, or give one of the names that `certiscope cameras` lists"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "no permission; the user that runs this must be in the group `video`"
        }
        Some(libc::EBUSY) => "busy: another program has it; only one can (`fuser -v` tells which)",
        Some(libc::ENODEV | libc::ENXIO) => "gone: it was unplugged, or its driver gave it up; plug it in",
        Some(libc::ENOTTY | libc::EINVAL) => {
            "no camera; a video node such as `certiscope cameras` lists is needed"
        }
        Some(libc::EIO) => "its driver reports a fault of the device; look at the cable and the port",
        Some(_) => return format!("{error}; see the kernel's log (`dmesg`)"),
        None => return error.to_string(),
    };
    words.to_owned()
}

fn lost(device: &Path, error: &io::Error) -> Trouble {
    let reason = format!("source.device = {}: {}", device.display(), why_lost(error));
    Trouble { kind: TroubleKind::Lost, reason }
}

fn rate_in_words(rate: Option<f64>) -> String {
    rate.map_or_else(
        || "an unknown number of".to_owned(),
        |rate| format!("{rate:.6}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(device: &str) -> CameraSource {
        CameraSource::new(CameraSettings::of(device.into()))
    }

    /// The trouble that comes within a while.
    fn trouble(source: &mut CameraSource) -> Trouble {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match source.next(Duration::from_millis(20)).unwrap() {
                Next::Trouble(trouble) => return trouble,
                Next::NotYet => assert!(Instant::now() < deadline, "no trouble"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_absent_camera_is_a_state_with_its_reason_and_keeps_nobody() {
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
            assert!(matches!(next, Next::Trouble(_)), "{next:?}");
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        assert!(source.camera().is_none());
    }

    #[test]
    fn what_is_no_camera_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for device in ["/dev/null", file.path().to_str().unwrap(), "/dev"] {
            let lost = trouble(&mut source(device));
            assert_eq!(lost.kind, TroubleKind::Lost);
            assert!(lost.reason.contains("no camera"), "{device}: {}", lost.reason);
        }
    }

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
        let told = refused.reason;
        assert!(told.contains("gives MJPG 640x480") && told.contains("with YUYV 640x480"), "{told}");
    }

    #[test]
    fn every_failure_has_words_for_who_must_act() {
        let words = |code| why_lost(&io::Error::from_raw_os_error(code));
        assert!(words(libc::EACCES).contains("group `video`"));
        assert!(words(libc::EBUSY).contains("another program"));
        assert!(words(libc::ENODEV).contains("plug it in"));
        assert!(words(libc::EIO).contains("cable"));
        assert!(words(libc::ENOSPC).contains("space") && words(libc::ENOSPC).contains("dmesg"));
    }

    #[test]
    fn rates_are_told_as_they_are() {
        assert_eq!(rate_in_words(Some(30.0)), "30");
        assert_eq!(rate_in_words(Some(7.5)), "7.5");
        assert_eq!(rate_in_words(Some(30_000.0 / 1001.0)), "29.97003");
    }
}
