//! What the service manager is told (sd_notify), where one asks: ready, how it goes, alive, stopping.
//!
//! Guarantees: `WATCHDOG=1` goes out only while every stage's loop turns; a stage that stands still longer than its
//! limit is named in the log, once. Waiting is turning, so nothing that merely lacks (a camera, a trigger, a broker, room
//! on the disk) ends the feeding. Once it stops, the stop's own limits hold, and those of the manager.
//! Leaves out: whether the manager listens, which nobody here depends on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::publish::Connection;
use crate::publish::wire::Snapshot;

/// How often the sentence is said when nothing but counters changed.
const REPEAT: Duration = Duration::from_secs(10);

/// How long a stage's loop may stand still: longer than anything that it does on a slow machine.
/// A write to a slow disk or the opening of a camera.
const SLOWEST: Duration = Duration::from_secs(20);
/// What is let go of in one step, file by file.
const SLOWEST_RETENTION: Duration = Duration::from_secs(60);

/// How long this stage may stand still, where a model call may take `call_limit`.
pub(super) fn limit(stage: &str, call_limit: Duration) -> Duration {
    match stage {
        // What hangs longer ends the agent by itself; this is for when even that hangs.
        "inference" => call_limit + SLOWEST,
        "retention" => SLOWEST_RETENTION,
        _ => SLOWEST,
    }
}

/// A stage as the watchdog sees it.
pub(super) struct Watched {
    pub name: &'static str,
    pub still_for: Duration,
    pub limit: Duration,
}

/// The station as a service.
pub(super) struct Service {
    /// Between two signs of life; `None` where nobody waits for them.
    period: Option<Duration>,
    fed: Option<Instant>,
    hanging: BTreeSet<&'static str>,
    /// What stands in the sentence beside counters, and when it was said.
    said: Option<(String, Instant)>,
    stopping: bool,
}

impl Service {
    /// Says `READY=1`: the model has answered its golden vectors, and the log is open. Never without a sentence.
    pub(super) fn ready() -> Self {
        notify(&[NotifyState::Ready, NotifyState::Status("ready: begins to take frames")]);
        let period = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { period, fed: None, hanging: BTreeSet::new(), said: None, stopping: false }
    }

    /// A sign of life when it is due, but not while a stage hangs.
    pub(super) fn feed(&mut self, stages: &[Watched]) {
        let hanging: BTreeSet<&'static str> =
            stages.iter().filter(|stage| stage.still_for > stage.limit).map(|stage| stage.name).collect();
        for stage in
            stages.iter().filter(|stage| hanging.contains(stage.name) != self.hanging.contains(stage.name))
        {
            if hanging.contains(stage.name) {
                let secs = stage.still_for.as_secs();
                tracing::error!(
                    "watchdog: stage {} has stood still for {secs} s: not fed any more",
                    stage.name
                );
            } else {
                tracing::info!("watchdog: stage {} turns again", stage.name);
            }
        }
        self.hanging = hanging;
        let due = self.period.is_some_and(|period| self.fed.is_none_or(|fed| fed.elapsed() >= period));
        if due && self.hanging.is_empty() && !self.stopping {
            self.fed = Some(Instant::now());
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// `STATUS=`, when something but a counter changed and from time to time.
    pub(super) fn tell(&mut self, snapshot: &Snapshot, connection: &Connection, outbox: u64) {
        let state = state(snapshot, connection);
        let known = self.said.as_ref().is_some_and(|(said, at)| *said == state && at.elapsed() < REPEAT);
        if !known && !self.stopping {
            notify(&[NotifyState::Status(&sentence(&state, snapshot, outbox))]);
            self.said = Some((state, Instant::now()));
        }
    }

    /// Says `STOPPING=1`, once.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            notify(&[
                NotifyState::Stopping,
                NotifyState::Status("stopping: what was captured is inspected and sent"),
            ]);
        }
    }
}

/// Nothing happens without a manager; one that does not listen is not waited for.
fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("service manager: {error}");
    }
}

/// How things stand, without numbers.
fn state(snapshot: &Snapshot, connection: &Connection) -> String {
    let with = |reason: &Option<String>| reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let source = format!("source {}{}", snapshot.source.state.word(), with(&snapshot.source.reason));
    let others = [("store", &snapshot.store), ("evidence", &snapshot.evidence), ("bundle", &snapshot.bundle)];
    let troubles = others
        .into_iter()
        .filter(|(_, condition)| condition.state != "ok")
        .map(|(name, condition)| format!("{name} {}{}", condition.state, with(&condition.reason)));
    let broker = match connection {
        Connection::Starting => "broker not asked yet".to_owned(),
        Connection::Connected { .. } => "broker connected".to_owned(),
        Connection::Disconnected { reason, .. } => format!("not connected ({reason})"),
    };
    std::iter::once(source).chain(troubles).chain([broker]).collect::<Vec<_>>().join("; ")
}

fn sentence(state: &str, snapshot: &Snapshot, outbox: u64) -> String {
    let counted = |counts: &std::collections::BTreeMap<&str, u64>| {
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    };
    let verdicts = counted(&snapshot.verdicts);
    let triggers = snapshot.triggers.as_ref();
    let triggers = triggers.map(|counts| format!("; triggers: {}", counted(counts))).unwrap_or_default();
    let sentence = format!("{state}; {verdicts}{triggers}; {outbox} in the outbox");
    // One line: a line break would begin another message.
    sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(still_secs: u64) -> [Watched; 1] {
        let (still_for, limit) = (Duration::from_secs(still_secs), limit("record", Duration::ZERO));
        [Watched { name: "record", still_for, limit }]
    }

    fn fed_now(service: &mut Service, stages: &[Watched]) -> bool {
        let before = service.fed;
        service.feed(stages);
        service.fed != before
    }

    #[test]
    fn only_while_every_stage_turns_is_there_a_sign_of_life() {
        let period = Some(Duration::ZERO);
        let mut service =
            Service { period, fed: None, hanging: BTreeSet::new(), said: None, stopping: false };
        assert!(fed_now(&mut service, &watched(0)));
        assert!(fed_now(&mut service, &watched(19)), "slow is not hanging");
        assert!(!fed_now(&mut service, &watched(21)));
        assert_eq!(service.hanging, ["record"].into());
        assert!(fed_now(&mut service, &watched(0)), "it turns again");
        service.period = Some(Duration::from_secs(60));
        assert!(!fed_now(&mut service, &watched(0)), "not due");
        service.period = None;
        assert!(!fed_now(&mut service, &watched(0)), "nobody waits for it");
    }

    #[test]
    fn a_model_call_may_take_what_it_is_given() {
        let call = Duration::from_secs(600);
        assert!(limit("inference", call) > call);
        assert_eq!(limit("store", call), SLOWEST);
    }
}
