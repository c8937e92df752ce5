//! Replaces systemd in tests: a socket for sd_notify, and a log of the messages that arrive.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::wait_until;

/// The lines that a station sent, each with its time.
type Log = Arc<Mutex<Vec<(Instant, String)>>>;

pub(crate) struct ServiceManager {
    socket: PathBuf,
    log: Log,
}

impl ServiceManager {
    /// Listens on a socket in `folder` until the test ends. `at_ready` is called when `READY=1` arrives and says whether
    /// that was right. `READY=1` must come with a `STATUS=`, because people read the status as soon as the service runs.
    pub(crate) fn new(folder: &Path, at_ready: impl Fn() -> bool + Send + 'static) -> Self {
        let socket = folder.join("notify");
        let listening = UnixDatagram::bind(&socket).unwrap();
        let log = Log::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length) = listening.recv(&mut datagram) {
                let text = std::str::from_utf8(&datagram[..length]).unwrap();
                for line in text.lines() {
                    let line = match line {
                        "READY=1" if !at_ready() => "READY too early",
                        "READY=1" if !text.contains("STATUS=") => "READY without a status",
                        line => line,
                    };
                    kept.lock().unwrap().push((Instant::now(), line.to_owned()));
                }
            }
        });
        Self { socket, log }
    }

    /// Makes a command report to this manager, with the watchdog time `watchdog`.
    pub(crate) fn watch<'a>(&self, command: &'a mut Command, watchdog: Duration) -> &'a mut Command {
        command
            .env("NOTIFY_SOCKET", &self.socket)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
    }

    /// The times at which exactly this line arrived.
    pub(crate) fn heard(&self, line: &str) -> Vec<Instant> {
        self.log.lock().unwrap().iter().filter(|(_, said)| said == line).map(|(at, _)| *at).collect()
    }

    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Instant {
        let mut found = None;
        wait_until(what, || {
            found = self.log.lock().unwrap().iter().find(|(_, said)| wanted(said)).map(|(at, _)| *at);
            found.is_some()
        });
        found.expect("waited for")
    }

    pub(crate) fn wait_ready(&self) -> Instant {
        self.wait("it is ready", |said| said.starts_with("READY"));
        self.heard("READY=1").pop().expect("ready at the right moment, with a status")
    }

    /// The longest time without a sign of life from `since` to now.
    pub(crate) fn longest_silence(&self, since: Instant) -> Duration {
        let signs = self.heard("WATCHDOG=1").into_iter().filter(|at| *at > since);
        let moments: Vec<Instant> = [since].into_iter().chain(signs).chain([Instant::now()]).collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().expect("two at the least")
    }
}
