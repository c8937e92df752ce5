//! What the service manager is sent (sd_notify), where there is one: ready, a sentence about the state, signs of life,
//! stopping.
//!
//! Guarantees: never ready without a sentence; nobody waits for a manager that does not listen.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::publish::Connection;
use crate::status::{Condition, ConditionState, Status};

/// How often the sentence is sent when nothing but counters changed.
const REPEAT: Duration = Duration::from_secs(10);

pub(super) struct ServiceManager {
    /// What the newest sentence says beside its numbers, and when it was sent.
    sent: Option<(String, Instant)>,
    stopping: bool,
}

/// A station as it is in the sentence.
pub(super) struct StationInSentence<'a> {
    pub name: &'a str,
    pub status: &'a Status,
    pub connection: &'a Connection,
    pub outbox: u64,
}

impl ServiceManager {
    /// Sends `READY=1`: the model has answered its golden vectors, and the log is open.
    pub(super) fn ready() -> Self {
        notify(&[NotifyState::Ready, NotifyState::Status("ready: begins to take frames")]);
        Self { sent: None, stopping: false }
    }

    /// For tests of others: says nothing at its start.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self { sent: None, stopping: false }
    }

    /// Half of what the manager allows between two signs of life.
    pub(super) fn watchdog_period() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }

    pub(super) fn sign_of_life(&self) {
        notify(&[NotifyState::Watchdog]);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Sends `STATUS=` when something but a counter changed, and from time to time.
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

/// Does nothing without a manager; one that does not listen is not waited for.
fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("service manager: {error}");
    }
}

/// The words of all stations, each after its name where there are several.
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

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
