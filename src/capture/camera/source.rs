//! The camera as a [`FrameSource`]: opens it, takes its frames, opens it again when it is gone.
//!
//! All that may hang in a driver (open, set, read back, close) is done aside, one at a time; only taking buffers, which
//! does not, is done here. A frame that waited while a newer one came is thrown away.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aside::Aside;
use super::open::{LOOK_AT_CONTROLS, Open, lost, open};
use super::truth::{Judged, Truth};
use super::{CameraSettings, Format, controls};
use crate::capture::{Camera, CaptureError, Drops, Frame, FrameSource, Next, Trouble, TroubleKind};

/// Between two tries to open: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// An opening that takes longer is told.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// How long a silent stream is left alone before it is opened anew, which wakes some cameras.
const REOPEN_AFTER: Duration = Duration::from_secs(10);
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
            open.look_at_controls = Instant::now() + LOOK_AT_CONTROLS;
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
    fn rates_are_told_as_they_are() {
        assert_eq!(rate_in_words(Some(30.0)), "30");
        assert_eq!(rate_in_words(Some(7.5)), "7.5");
        assert_eq!(rate_in_words(Some(30_000.0 / 1001.0)), "29.97003");
    }
}
