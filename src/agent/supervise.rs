//! The thread that watches the others: keeps `status` and the service manager up to date, and notices what no stage can
//! say of itself.
//!
//! Guarantees: a thread that died, a model call that does not return, a bundle replaced on the disk and a clock that
//! jumped are each noticed within seconds; what ends the agent is a [`Fault`] with its reason.
//! Leaves out: killing a thread that hangs, which only the end of the process can.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;

use super::live::{Fault, Live};
use super::service::{self, Service, Watched};
use super::{Stop, WAIT};
use crate::bundle;
use crate::health::Pulse;
use crate::inspection::{FrameOutcome, Inspection, Latency, Parameters};
use crate::inspector::Inspected;
use crate::publish::Connection;
use crate::publish::wire::{Condition, Snapshot};
use crate::store::Backlog;
use crate::verdict::Reason;

/// How often `status` is brought up to date when nothing but counters changed.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the store is given a turn and the clocks are compared.
const BEAT: Duration = Duration::from_secs(1);
/// A write that takes longer is a state of its own.
const STUCK: Duration = Duration::from_secs(8);
/// How often the bundle's folder is looked at.
const BUNDLE: Duration = Duration::from_secs(5);

/// Asks a thread or task whether it has ended.
pub(super) type HasEnded = Box<dyn Fn() -> bool + Send>;

/// What is watched.
pub(super) struct Supervisor {
    pub live: Arc<Live>,
    pub stop: Stop,
    pub snapshot: watch::Sender<Snapshot>,
    pub connection: watch::Receiver<Connection>,
    /// As the pump read it last.
    pub outbox: watch::Receiver<Backlog>,
    pub parameters: Arc<Parameters>,
    pub bundle_folder: PathBuf,
    /// A model call that takes longer does not return any more.
    pub call_limit: Duration,
    /// Threads and tasks that must not end before they are asked to: a name, and whether it has ended.
    pub others: Vec<(&'static str, HasEnded)>,
}

impl Supervisor {
    /// Watches until the sender of `done` is gone.
    pub(super) fn run(self, done: &Receiver<()>) {
        let start = Instant::now();
        let (mut refreshed, mut beaten, mut looked) = (start, start, start);
        let mut service = Service::ready();
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(WAIT) {
            self.watch_model();
            self.watch_disk();
            self.watch_others();
            if beaten.elapsed() >= BEAT {
                beaten = Instant::now();
                self.live.store.ping();
                self.live.look_at_clock();
            }
            if looked.elapsed() >= BUNDLE {
                looked = Instant::now();
                self.watch_bundle();
            }
            let now = self.live.snapshot();
            service.tell(&now, &self.connection.borrow(), self.outbox.borrow().depth);
            if self.stop.requested() {
                service.stopping();
            }
            service.feed(&self.watched());
            if refreshed.elapsed() >= REFRESH || conditions(&now) != conditions(&self.snapshot.borrow()) {
                refreshed = Instant::now();
                self.snapshot.send_replace(now);
            }
        }
        service.stopping();
    }

    fn watched(&self) -> Vec<Watched> {
        let watched = |(name, pulse): (_, &Pulse)| {
            let limit = service::limit(name, self.call_limit);
            Watched { name, still_for: pulse.still_for(), limit }
        };
        self.live.stages().map(watched).into()
    }

    /// A call that does not return: its frame abstains, and the agent ends, since nothing else frees the thread.
    fn watch_model(&self) {
        let stuck = self.live.pulses.inference.working_for().is_some_and(|time| time > self.call_limit);
        let Some(in_hand) = stuck.then(|| self.live.put_down()).flatten() else {
            return;
        };
        let fault = format!(
            "model: a call has not returned for {} s (station.model.call_limit_ms = {})",
            self.call_limit.as_secs_f64(),
            self.call_limit.as_millis()
        );
        let inspection = Inspection::of(
            &in_hand.frame,
            in_hand.seed,
            FrameOutcome::NotDrawn { reason: Reason::ModelFault, fault: fault.clone() },
            Latency::until_now(&in_hand.frame, in_hand.queued, in_hand.queued),
            &self.parameters,
        );
        self.live.pulses.inference.failed(&fault);
        self.live.fail(Fault::Passing(anyhow!(
            "{fault}; its frame abstains, and the agent ends to be started again"
        )));
        self.live.abandon(in_hand.frame, Inspected { inspection, input: None, heat_map: None });
        self.end();
    }

    /// A write that does not return: nothing can be done about it here, but it has a name until a commit succeeds.
    fn watch_disk(&self) {
        let stages = [("evidence or commit", &self.live.pulses.record), ("log", self.live.store.pulse())];
        let longest =
            stages.map(|(what, pulse)| (pulse.working_for().unwrap_or_default(), what)).into_iter().max();
        if let Some((time, what)) = longest.filter(|(time, _)| *time > STUCK) {
            let reason = format!(
                "{what}: a write has not returned for {} s; look at the disk, or at the network it is on",
                time.as_secs()
            );
            self.live.set_store(Condition { state: "stuck", reason: Some(reason) });
        }
    }

    fn watch_others(&self) {
        for (name, has_ended) in &self.others {
            if has_ended() && !self.stop.requested() {
                self.live.fail(Fault::Passing(anyhow!("{name} has ended before it was asked to")));
                self.end();
            }
        }
    }

    fn watch_bundle(&self) {
        let manifest = self.bundle_folder.join(bundle::MANIFEST);
        self.live.set_bundle(match bundle::sha256_of(&manifest) {
            Ok(found) if found == self.parameters.bundle_sha256 => Condition::ok(),
            Ok(found) => Condition {
                state: "changed",
                reason: Some(format!(
                    "{}: sha256 is {found}; {} runs on as it was loaded: start the agent again to use the new one",
                    manifest.display(),
                    self.parameters.model
                )),
            },
            Err(error) => Condition { state: "unreadable", reason: Some(error.to_string()) },
        });
    }

    fn end(&self) {
        self.stop.request();
        self.live.handover.close();
    }
}

/// What is told at once when it changes.
fn conditions(snapshot: &Snapshot) -> impl PartialEq + use<> {
    let Snapshot { bundle, source, store, evidence, clock_synchronised, clock, .. } = snapshot;
    // A reason may hold a number that grows: of the source its state counts, and what its camera is.
    let source = (source.state, source.camera.clone());
    (bundle.clone(), source, store.clone(), evidence.clone(), *clock_synchronised, *clock)
}
