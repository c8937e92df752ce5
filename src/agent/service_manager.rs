//! Notifies the service manager (sd_notify), if there is one: ready, a sentence about the state, signs of life, stopping.
//!
//! Guarantees: `READY=1` always comes with a sentence. Notifying never waits: a manager that does not read gets no more
//! notifications until it does. (`sd_notify::notify` would wait for it, so the message is sent here.)

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::publish::Connection;
use crate::status::{Condition, ConditionState, Status};

/// How often the sentence is sent if only counters changed.
const REPEAT: Duration = Duration::from_secs(10);

/// The connection to the service manager, and what was last sent to it.
pub(super) struct ServiceManager {
    /// The newest sentence without its numbers, and when it was sent.
    sent: Option<(String, Instant)>,
    stopping: bool,
}

/// What the sentence says about a station.
pub(super) struct StationInSentence<'a> {
    pub name: &'a str,
    pub status: &'a Status,
    pub connection: &'a Connection,
    pub outbox: u64,
}

impl ServiceManager {
    /// Sends `READY=1`. Call it when the golden vectors are computed again and the log is open.
    pub(super) fn ready() -> Self {
        notify(&[NotifyState::Ready, NotifyState::Status("ready: begins to take frames")]);
        Self { sent: None, stopping: false }
    }

    /// For tests: like `ready`, but sends nothing.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self { sent: None, stopping: false }
    }

    /// How often a sign of life is due: half of the time that the manager allows. `None` if it expects none.
    pub(super) fn watchdog_period() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }

    pub(super) fn sign_of_life(&self) {
        notify(&[NotifyState::Watchdog]);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Sends `STATUS=` if something other than a counter changed, and otherwise every [`REPEAT`].
    pub(super) fn report(&mut self, stations: &[StationInSentence<'_>]) {
        let states = of_all(stations, state);
        let is_known = self.sent.as_ref().is_some_and(|(sent, at)| *sent == states && at.elapsed() < REPEAT);
        if !is_known && !self.stopping {
            notify(&[NotifyState::Status(&of_all(stations, sentence))]);
            self.sent = Some((states, Instant::now()));
        }
    }

    /// Sends `STOPPING=1`, once.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            notify(&[
                NotifyState::Stopping,
                NotifyState::Status("stopping: what was captured is inspected and sent"),
            ]);
        }
    }
}

/// Sends a notification. Does nothing without a manager, and never waits for one.
fn notify(what: &[NotifyState<'_>]) {
    let Some(manager) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message: String = what.iter().map(|state| format!("{state}\n")).collect();
    match send(&manager, &message) {
        // It has not read the ones before. The next one may be read.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => tracing::warn!("service manager: {error}"),
        Ok(()) => {}
    }
}

fn send(manager: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match manager.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(manager)?,
    }
    socket.send(message.as_bytes()).map(drop)
}

/// Joins the texts of all stations; each is preceded by the station's name if there are several.
fn of_all(stations: &[StationInSentence<'_>], words: impl Fn(&StationInSentence<'_>) -> String) -> String {
    let named = |station| match stations.len() {
        1 => words(station),
        _ => format!("{}: {}", station.name, words(station)),
    };
    one_line(&stations.iter().map(named).collect::<Vec<_>>().join(" | "))
}

/// The state of a station, without numbers.
fn state(station: &StationInSentence<'_>) -> String {
    let Status { source, store, evidence, bundle, .. } = station.status;
    let source = format!("source {}{}", source.state.word(), in_brackets(&source.reason));
    let troubles = [trouble("store", store), trouble("evidence", evidence), trouble("bundle", bundle)];
    let broker = match station.connection {
        Connection::Starting => "broker not asked yet".to_owned(),
        Connection::Connected { .. } => "broker connected".to_owned(),
        Connection::Disconnected { reason, .. } => format!("not connected ({reason})"),
    };
    std::iter::once(source)
        .chain(troubles.into_iter().flatten())
        .chain([broker])
        .collect::<Vec<_>>()
        .join("; ")
}

fn trouble<S: ConditionState>(name: &str, condition: &Condition<S>) -> Option<String> {
    (!condition.is_ok())
        .then(|| format!("{name} {}{}", condition.state.word(), in_brackets(&condition.reason)))
}

fn in_brackets(reason: &Option<String>) -> String {
    reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
}

fn sentence(station: &StationInSentence<'_>) -> String {
    let counted = |counts: &std::collections::BTreeMap<&str, u64>| {
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    };
    let verdicts = counted(&station.status.verdicts.by_word());
    let triggers = station.status.triggers.as_ref();
    let triggers = triggers.map(|counts| format!("; triggers: {}", counted(counts))).unwrap_or_default();
    format!("{}; {verdicts}{triggers}; {} in the outbox", state(station), station.outbox)
}

/// Replaces control characters, because a line break would begin another notification.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
