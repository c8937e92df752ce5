//! The connection to a camera: opened, watched, closed after a loss and opened again.
//!
//! The name of the device is resolved at each attempt, so a camera that is plugged in again is found under its new number.
//! Guarantees: every call returns within the wait that it was given. A call that may hang in a driver (open, set, read
//! back, close) runs on a separate thread, one at a time. The description of the camera is kept after a
//! loss. The pause between attempts is 0.1 s, then 0.2 s, up to one second.
//! Leaves out: taking frames (see `source`), and the steps of opening (see `open`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::controls;
use super::driver_call::DriverCall;
use super::open::{LOOK_AT_CONTROLS, OpenCamera, open};
use super::settings::CameraSettings;
use super::why_lost::lost;
use crate::capture::{CameraInfo, Trouble, TroubleKind};

/// The pause between two attempts to open: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// An opening that takes longer is reported.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// How long the end of the source waits for the driver to close the camera.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct CameraConnection {
    settings: Arc<CameraSettings>,
    state: ConnectionState,
    /// The close that still runs. Nothing is opened before it has ended.
    closing: Option<DriverCall<()>>,
    /// Why there is no camera, as far as is known.
    lost: Option<Trouble>,
    attempts: u32,
    /// The camera as it was opened last.
    info: Option<Arc<CameraInfo>>,
}

enum ConnectionState {
    Closed { until: Instant },
    Opening { since: Instant, outcome: DriverCall<Result<OpenCamera, Trouble>> },
    Open(Box<OpenCamera>),
}

/// How far the opening of a camera has come.
pub(super) enum OpenProgress {
    /// The camera streams, at this rate where the driver or the configuration says one.
    Opened { frames_per_second: Option<f64> },
    /// Not open yet. The trouble is `None` while the camera is opened for the first time.
    Waiting(Option<Trouble>),
}

impl CameraConnection {
    /// Opens nothing yet.
    pub(super) fn new(settings: CameraSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            state: ConnectionState::Closed { until: Instant::now() },
            closing: None,
            lost: None,
            attempts: 0,
            info: None,
        }
    }

    pub(super) fn settings(&self) -> &CameraSettings {
        &self.settings
    }

    /// The camera as it was opened last, also after it was lost.
    pub(super) fn info(&self) -> Option<Arc<CameraInfo>> {
        self.info.clone()
    }

    /// The camera, while it is open.
    pub(super) fn opened(&mut self) -> Option<&mut OpenCamera> {
        match &mut self.state {
            ConnectionState::Open(open) => Some(open),
            ConnectionState::Closed { .. } | ConnectionState::Opening { .. } => None,
        }
    }

    /// Why there is no camera, as far as is known.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lost.clone()
    }

    /// Continues to open the camera, for the first time or after a loss. Waits at most `left`.
    pub(super) fn reopen(&mut self, left: Duration) -> OpenProgress {
        match &self.state {
            ConnectionState::Closed { until } => OpenProgress::Waiting(self.begin_to_open(*until, left)),
            ConnectionState::Opening { .. } => self.await_opening(left),
            ConnectionState::Open(open) => {
                OpenProgress::Opened { frames_per_second: self.rate(open.negotiated.frames_per_second) }
            }
        }
    }

    fn rate(&self, negotiated: Option<f64>) -> Option<f64> {
        negotiated.or(self.settings.frames_per_second)
    }

    /// Waits for the time of the next attempt and for the end of the last close, then begins to open.
    fn begin_to_open(&mut self, at: Instant, left: Duration) -> Option<Trouble> {
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
        match DriverCall::begin("camera open", move || open(&settings)) {
            Ok(outcome) => self.state = ConnectionState::Opening { since: Instant::now(), outcome },
            Err(error) => self.lose(&error),
        }
        None
    }

    fn await_opening(&mut self, left: Duration) -> OpenProgress {
        let ConnectionState::Opening { since, outcome } = &self.state else {
            return OpenProgress::Waiting(None);
        };
        match outcome.wait(left) {
            Some(Ok(open)) => {
                let CameraInfo { path, format, width, height, .. } = &open.info;
                let negotiated = open.negotiated.frames_per_second;
                tracing::info!(
                    "camera: {path} gives {format} {width}x{height} at {} frames a second",
                    rate_in_words(negotiated)
                );
                if !open.info.controls_drifted.is_empty() {
                    report_drift(&open.info.controls_drifted);
                }
                self.info = Some(Arc::new(open.info.clone()));
                self.attempts = 0;
                self.lost = None;
                self.state = ConnectionState::Open(Box::new(open));
                OpenProgress::Opened { frames_per_second: self.rate(negotiated) }
            }
            Some(Err(trouble)) => {
                self.fail(trouble);
                OpenProgress::Waiting(self.trouble())
            }
            None if since.elapsed() > OPENS_WITHIN => {
                self.lost.get_or_insert_with(|| Trouble {
                    kind: TroubleKind::Lost,
                    reason: format!(
                        "source.device = {}: its driver does not answer; unplug it and plug it in again",
                        self.settings.device.display()
                    ),
                });
                OpenProgress::Waiting(self.trouble())
            }
            None => OpenProgress::Waiting(self.trouble()),
        }
    }

    /// A call to the driver failed: closes the camera, to open it again after a pause.
    pub(super) fn lose(&mut self, error: &io::Error) {
        self.fail(lost(&self.settings.device, error));
    }

    fn fail(&mut self, trouble: Trouble) {
        let (first, longest) = RETRY;
        let pause = longest.min(first * 2_u32.pow(self.attempts.min(8)));
        self.attempts += 1;
        self.lost = Some(trouble);
        self.close(Instant::now() + pause);
    }

    /// Closes a camera that gives no frames and opens it again at once, which wakes some cameras.
    pub(super) fn restart(&mut self, trouble: Trouble) {
        self.lost = Some(trouble);
        self.close(Instant::now());
    }

    /// Closes the camera, if it is open, on a separate thread.
    fn close(&mut self, until: Instant) {
        let state = std::mem::replace(&mut self.state, ConnectionState::Closed { until });
        if let ConnectionState::Open(open) = state {
            // If no thread can be started, it is closed on this one.
            self.closing = DriverCall::begin("camera close", move || drop(open)).ok();
        }
    }

    /// Reads the controls back every few seconds, and reports which have changed.
    pub(super) fn watch_controls(&mut self) {
        let ConnectionState::Open(open) = &mut self.state else {
            return;
        };
        if self.settings.controls.is_empty() {
            return;
        }
        if let Some(drifted) = open.looking.as_ref().and_then(|looking| looking.wait(Duration::ZERO)) {
            open.looking = None;
            open.look_at_controls = Instant::now() + LOOK_AT_CONTROLS;
            if drifted != open.info.controls_drifted {
                report_drift(&drifted);
                open.info.controls_drifted = drifted;
                self.info = Some(Arc::new(open.info.clone()));
            }
        }
        if open.looking.is_none() && Instant::now() >= open.look_at_controls {
            let (device, settings) = (Arc::clone(&open.device), Arc::clone(&self.settings));
            let look = move || controls::drifted(&device, &settings.controls);
            open.looking = DriverCall::begin("camera controls", look).ok();
        }
    }
}

impl Drop for CameraConnection {
    fn drop(&mut self) {
        self.close(Instant::now());
        if let Some(closing) = &self.closing {
            closing.wait(CLOSES_WITHIN);
        }
    }
}

fn report_drift(drifted: &[String]) {
    match drifted {
        [] => tracing::info!("camera: its controls have the configured values"),
        drifted => tracing::warn!("camera: {}", drifted.join("; ")),
    }
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

    #[test]
    fn what_is_known_of_a_camera_is_kept_after_a_loss_and_the_pause_grows_to_a_second() {
        let mut connection = CameraConnection::new(CameraSettings::of("/dev/v4l/by-id/usb-x".into()));
        let camera = Arc::new(CameraInfo {
            device: "/dev/v4l/by-id/usb-x".to_owned(),
            path: "/dev/video7".to_owned(),
            driver: "uvcvideo".to_owned(),
            format: "YUYV".to_owned(),
            width: 640,
            height: 480,
            frames_per_second: 30.0,
            controls_drifted: Vec::new(),
        });
        connection.info = Some(Arc::clone(&camera));
        for pause_ms in [100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000, 1000] {
            let before = Instant::now();
            connection.lose(&io::Error::from_raw_os_error(libc::ENODEV));
            let after = Instant::now();
            let ConnectionState::Closed { until } = connection.state else { panic!("not closed") };
            let pause = Duration::from_millis(pause_ms);
            assert!(before + pause <= until && until <= after + pause, "{pause:?}");
            assert!(connection.trouble().is_some_and(|trouble| trouble.reason.contains("gone")));
            assert_eq!(connection.info(), Some(Arc::clone(&camera)));
        }
        connection.restart(connection.trouble().unwrap());
        assert_eq!(connection.info(), Some(camera));
    }

    #[test]
    fn rates_are_written_as_they_are() {
        assert_eq!(rate_in_words(Some(30.0)), "30");
        assert_eq!(rate_in_words(Some(7.5)), "7.5");
        assert_eq!(rate_in_words(Some(30_000.0 / 1001.0)), "29.97003");
        assert_eq!(rate_in_words(None), "an unknown number of");
    }
}
