//! A source that does what the test says, at the frame rate of a camera, and a station that uses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use certiscope::testing::agent::{self, Stop, Summary};
use certiscope::testing::capture::{
    CameraInfo, CaptureError, Channels, Drops, Frame, FrameSource, Picture, Samples, SourceEvent, Stamp,
    Trouble,
};
use certiscope::testing::config::Config;

use super::line::Line;

const FRAME: Duration = Duration::from_millis(50);

/// What the source does from now on.
#[derive(Debug, Clone)]
pub(crate) enum Now {
    Frames,
    Silence,
    Trouble(Trouble),
}

/// The script of a source. A test may change it while the source is in use.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<State>>);

struct State {
    now: Now,
    camera: Option<CameraInfo>,
    drops: Drops,
}

impl Script {
    pub(crate) fn new(now: Now) -> Self {
        Self(Arc::new(Mutex::new(State { now, camera: None, drops: Drops::default() })))
    }

    pub(crate) fn set(&self, now: Now) {
        self.with(|state| state.now = now);
    }

    pub(crate) fn set_camera(&self, camera: CameraInfo, drops: Drops) {
        self.with(|state| (state.camera, state.drops) = (Some(camera), drops));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A source that follows this script.
    pub(crate) fn source(&self) -> Box<dyn FrameSource> {
        Box::new(Scripted { script: self.clone(), frames: 0 })
    }

    /// A station of `line` on this source, in this process.
    pub(crate) fn run(&self, line: &Line) -> Running {
        let config = Config::read(&line.configure()).unwrap_or_else(|error| panic!("{error}"));
        let (source, stop) = (self.source(), Stop::default());
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            agent::run_on(&config, source, &asked, |_| {}).unwrap_or_else(|error| panic!("{error:?}"))
        });
        Running { stop, thread }
    }
}

pub(crate) struct Running {
    stop: Stop,
    thread: JoinHandle<Summary>,
}

impl Running {
    /// Stops the station in order; returns its summary.
    pub(crate) fn stop(self) -> Summary {
        self.stop.request();
        self.thread.join().unwrap()
    }
}

struct Scripted {
    script: Script,
    frames: u64,
}

impl FrameSource for Scripted {
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        std::thread::sleep(wait.min(FRAME));
        if wait < FRAME {
            return Ok(SourceEvent::NotYet);
        }
        Ok(match self.script.with(|state| state.now.clone()) {
            Now::Silence => SourceEvent::NotYet,
            Now::Trouble(trouble) => SourceEvent::Trouble(trouble),
            Now::Frames => {
                self.frames += 1;
                SourceEvent::Frame(Box::new(Frame {
                    source_seq: self.frames,
                    captured_at: Stamp::now(),
                    part_id: None,
                    meas_id: None,
                    picture: Ok(Picture {
                        width: 16,
                        height: 16,
                        channels: Channels::Grey,
                        samples: Samples::Eight(vec![128; 16 * 16]),
                    }),
                    encoded: None,
                    truth: None,
                }))
            }
        })
    }

    fn pass(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        Ok(match self.next(wait)? {
            SourceEvent::Frame(frame) => SourceEvent::Passed(frame.captured_at),
            other => other,
        })
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }

    fn camera(&self) -> Option<Arc<CameraInfo>> {
        self.script.with(|state| state.camera.clone().map(Arc::new))
    }

    fn drops(&self) -> Drops {
        self.script.with(|state| state.drops)
    }
}
