//! The running agent: one station's threads, started in order, stopped in order.
//!
//! Threads: `capture` (the source), `inference` (owns the model), `record` (evidence and commit), `store`
//! (owns the database), and a small tokio runtime for MQTT; the calling thread supervises. Between them
//! stand bounded queues. Guarantees: capture waits for inference only where every frame must be inspected,
//! inference never waits for the network, nothing is published that is not committed. A stop ends the
//! stages in the order the data flows, so what was captured is inspected, committed and, within a limit,
//! delivered; what the broker did not take stays in the outbox for the next start. Any thread that dies
//! ends the agent with its name.

mod handover;
mod stages;
mod stop;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bundle::Bundle;
use crate::capture::folder::FolderSource;
use crate::capture::simulator::Simulator;
use crate::capture::{CaptureError, Frame, FrameSource};
use crate::config::{Config, SourceConfig, SourceKind, StationConfig};
use crate::detector::{Detector, Opened};
use crate::diffusion::onnx::Runtime;
use crate::inspection::{Inspection, Parameters};
use crate::inspector::{Inspector, InspectorSettings};
use crate::publish::wire::{self, Snapshot, SourceState};
use crate::publish::{Connection, Pump, Timing};
use crate::store::{Boot, Origin, Store, StoreThread};
use handover::Handover;
use stages::{Shared, capture, infer, record};
pub use stop::Stop;

/// Why the agent did not start, or did not go on.
#[derive(Debug)]
pub enum AgentError {
    /// Starting again cannot help: configuration, bundle, library, database.
    Refused(anyhow::Error),
    /// A fault while running: starting again may help.
    Stopped(anyhow::Error),
}

/// One inspection that is on the disk.
pub struct Recorded<'a> {
    pub seq: u64,
    pub frame: &'a Frame,
    pub inspection: &'a Inspection,
}

/// What a run did, from its start to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub normal: u64,
    pub anomalous: u64,
    pub abstained: u64,
    /// Frames that gave way to newer ones.
    pub dropped: u64,
    /// Verdicts that the broker has not acknowledged; the next start sends them.
    pub unsent: u64,
}

impl Summary {
    pub fn inspected(&self) -> u64 {
        self.normal + self.anomalous + self.abstained
    }
}

/// How often the source is asked whether it has something, and a stop is looked at.
const WAIT: Duration = Duration::from_millis(100);
/// How often `status` is brought up to date when nothing but counters changed.
const REFRESH: Duration = Duration::from_secs(10);
/// Inspections that may wait for the disk.
const RECORD_QUEUE: usize = 8;

/// Runs the station until the source ends or a stop is asked for. `observe` sees every inspection once it
/// is committed.
pub fn run(
    config: &Config,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>) + Send,
) -> Result<Summary, AgentError> {
    let station = open(config, || open_source(&config.station.source)).map_err(AgentError::Refused)?;
    station.run(stop, observe).map_err(AgentError::Stopped)
}

/// Runs the station on a source of the caller's, in the place of the configured one.
pub fn run_on(
    config: &Config,
    source: Box<dyn FrameSource>,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>) + Send,
) -> Result<Summary, AgentError> {
    let station = open(config, || Ok(source)).map_err(AgentError::Refused)?;
    station.run(stop, observe).map_err(AgentError::Stopped)
}

/// A station with everything opened and checked, nothing running.
struct Station {
    source: Box<dyn FrameSource>,
    handover: Handover,
    inspector: Inspector,
    evidence_folder: PathBuf,
    store: Store,
    origin: Origin,
    pump: PumpSettings,
    snapshot: Snapshot,
}

/// What the pump is made from once the store's thread runs.
struct PumpSettings {
    broker: crate::publish::BrokerSettings,
    topics: crate::publish::Topics,
}

fn open(
    config: &Config,
    source: impl FnOnce() -> Result<Box<dyn FrameSource>, CaptureError>,
) -> anyhow::Result<Station> {
    let station = &config.station;
    let bundle = Bundle::load(&station.bundle)?;
    let runtime = Runtime::load(config.onnxruntime_library.as_deref())?;
    let batch = station.smoothing.batch.get();
    let (detector, opened) = Detector::open(&bundle, &runtime, &station.session, batch)?;
    tracing::info!(
        bundle = bundle.label(),
        provider = opened.provider.active.word(),
        "model open; golden vectors within {:.1e} of the spread ({:.0e} allowed)",
        opened.self_test.worst,
        opened.self_test.tolerance
    );
    if let Some(reason) = &opened.provider.reason {
        tracing::warn!("{} asked for and not used: {reason}", opened.provider.requested.word());
    }
    let settings = inspector_settings(station);
    let inspector = Inspector::new(&bundle, detector, &opened.provider, settings)
        .with_context(|| format!("station {}", station.name))?;
    let source = source()?;
    tracing::info!(station = station.name, "source: {}", source.describe());

    let state = &config.state_folder;
    let mut store = Store::open(&state.join("certiscope.db"))?;
    let origin = Origin { boot_id: Uuid::new_v4(), station: station.name.as_str().into() };
    store.begin(
        &origin,
        &Boot {
            started_at: jiff::Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            configuration: &config.text,
            bundle_folder: &std::path::absolute(&bundle.folder)?,
            parameters: inspector.parameters(),
        },
    )?;
    let evidence_folder = state.join("evidence").join(&station.name);
    std::fs::create_dir_all(&evidence_folder).with_context(|| {
        format!("evidence: {}: cannot be made; a writable folder is needed", evidence_folder.display())
    })?;
    Ok(Station {
        snapshot: first_snapshot(inspector.parameters(), &opened),
        source,
        handover: Handover::new(station.source.delivery),
        inspector,
        evidence_folder,
        store,
        origin,
        pump: PumpSettings { broker: station.broker.clone(), topics: station.topics.clone() },
    })
}

/// What the station's configuration says of inspecting.
pub fn inspector_settings(station: &StationConfig) -> InspectorSettings {
    let smoothing = &station.smoothing;
    InspectorSettings {
        region: station.region,
        alpha: smoothing.alpha,
        target_radius: smoothing.target_radius,
        required_radius: smoothing.required_radius,
        max_draws: smoothing.max_draws.get(),
        deadline_ms: smoothing.deadline_ms,
        prior: smoothing.prior.clone(),
        recipe: station.recipe.clone(),
        report_empirical: station.report_empirical,
    }
}

/// Opens the configured source.
pub fn open_source(config: &SourceConfig) -> Result<Box<dyn FrameSource>, CaptureError> {
    Ok(match &config.kind {
        SourceKind::Folder(settings) => Box::new(FolderSource::open(settings.clone())?),
        SourceKind::Simulator(settings) => Box::new(Simulator::new(settings.clone())?),
    })
}

fn first_snapshot(parameters: &Parameters, opened: &Opened) -> Snapshot {
    Snapshot {
        model: parameters.model.clone(),
        model_sha256: parameters.model_sha256.clone(),
        provider: wire::Provider {
            requested: opened.provider.requested.word().to_owned(),
            active: opened.provider.active.word().to_owned(),
            fallback: opened.provider.reason.clone(),
        },
        source: wire::Source { state: SourceState::Ok, reason: None, last_frame_at: None },
        deadline_ms: parameters.deadline_ms,
        drops: [("newer_frame", 0), ("evidence", 0)].into(),
    }
}

impl Station {
    fn run(self, stop: &Stop, observe: impl FnMut(&Recorded<'_>) + Send) -> anyhow::Result<Summary> {
        let Self { mut source, handover, mut inspector, evidence_folder, store, origin, pump, snapshot } =
            self;
        let (store_thread, store) = StoreThread::start(store)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .context("network runtime")?;
        let (snapshot_out, snapshot_in) = watch::channel(snapshot);
        let (shutdown_out, shutdown_in) = watch::channel(false);
        let (connection, _) = watch::channel(Connection::Starting);
        let pump = runtime.spawn(
            Pump {
                broker: pump.broker,
                topics: pump.topics,
                origin: origin.clone(),
                timing: Timing::default(),
                store: store.clone(),
                snapshot: snapshot_in,
                connection,
                shutdown: shutdown_in,
            }
            .run(),
        );
        let shared = Shared::new(snapshot_out.borrow().source.clone());

        let stages = std::thread::scope(|scope| -> anyhow::Result<Summary> {
            let (to_record, inspected) = sync_channel(RECORD_QUEUE);
            let (finished, finish) = channel::<()>();
            let (handover, shared, store, origin) = (&handover, &shared, &store, &origin);
            let ended = finished.clone();
            let capture = stage(scope, "capture", stop, handover, ended, move || {
                capture(source.as_mut(), handover, stop, shared);
                Ok(())
            })?;
            let ended = finished.clone();
            let inference = stage(scope, "inference", stop, handover, ended, move || {
                infer(&mut inspector, handover, &to_record)
            })?;
            let record = stage(scope, "record", stop, handover, finished, move || {
                record(&inspected, &evidence_folder, store, origin, shared, observe)
            })?;
            supervise(&finish, &snapshot_out, handover, shared);
            joined("capture", capture)?;
            joined("inference", inference)?;
            joined("record", record)
        });

        let _ = shutdown_out.send(true);
        let pumped = runtime.block_on(pump).context("publish")?;
        let unsent = runtime.block_on(store.backlog(&origin.station)).map_or(0, |backlog| backlog.depth);
        drop(runtime);
        drop(store);
        store_thread.join()?;
        let summary = stages?;
        pumped?;
        Ok(Summary { dropped: handover.dropped(), unsent, ..summary })
    }
}

/// Starts a named thread. However it ends, the stages before it are told to stop, so that none waits for ever
/// for one that is gone, and the supervisor hears of it when all have ended.
fn stage<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    stop: &'scope Stop,
    handover: &'scope Handover,
    finished: std::sync::mpsc::Sender<()>,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'scope,
) -> anyhow::Result<ScopedJoinHandle<'scope, anyhow::Result<T>>> {
    struct Ending<'a>(&'a Stop, &'a Handover);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.request();
            self.1.close();
        }
    }
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, move || {
            let _finished = finished;
            let _ending = Ending(stop, handover);
            work()
        })
        .with_context(|| format!("thread {name}"))
}

fn joined<T>(name: &str, thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("thread {name}: panicked; see the log"))?
        .with_context(|| format!("thread {name}"))
}

/// Keeps `status` up to date until all stages have ended.
fn supervise(
    finish: &Receiver<()>,
    snapshot: &watch::Sender<Snapshot>,
    handover: &Handover,
    shared: &Shared,
) {
    let mut refreshed = Instant::now();
    while let Err(RecvTimeoutError::Timeout) = finish.recv_timeout(WAIT) {
        let source = shared.source().clone();
        let changed = snapshot.borrow().source.state != source.state;
        if changed || refreshed.elapsed() >= REFRESH {
            refreshed = Instant::now();
            snapshot.send_modify(|snapshot| {
                snapshot.source = source;
                snapshot.drops.insert("newer_frame", handover.dropped());
                snapshot.drops.insert("evidence", shared.evidence_lost());
            });
        }
    }
}
