//! The running agent: one station's threads, started in order, stopped in order.
//!
//! Threads: `capture` (the source), `inference` (owns the model), `store` (owns the database), `retention`,
//! `supervisor`, and a small tokio runtime for MQTT and metrics; the calling thread records (evidence and commit).
//! Between them stand bounded queues, beside them `live`, what the station knows of itself. Guarantees: capture
//! waits for inference only where every frame must be inspected, inference never waits for the network, nothing is
//! published that is not committed. A stop ends the stages in the order the data flows, so what was captured is
//! inspected, committed and, within a limit, delivered; what the broker did not take stays in the outbox for the next
//! start. Any thread that dies or hangs ends the agent with its name, or ends its signs of life to the service manager.

mod clocks;
mod handover;
mod live;
mod network;
mod record;
mod service;
mod stages;
mod stop;
mod supervise;
mod threads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use anyhow::Context;
use uuid::Uuid;

use crate::bundle::Bundle;
use crate::bundle::manifest::CameraFormat;
use crate::capture::camera::{CameraSettings, CameraSource};
use crate::capture::folder::FolderSource;
use crate::capture::gate::Gate;
use crate::capture::simulator::Simulator;
use crate::capture::{CaptureError, Frame, FrameSource};
use crate::config::{Config, SourceConfig, SourceKind, StationConfig};
use crate::detector::Detector;
use crate::diffusion::onnx::Runtime;
use crate::inspection::Inspection;
use crate::inspector::{Inspector, InspectorSettings};
use crate::publish::wire::{Delivery, Provider};
use crate::publish::{Commands, json_output};
use crate::retention::Retention;
use crate::state_folder::StateFolder;
use crate::store::{Boot, Origin, Store, StoreError, StoreErrorKind, StoreThread};
use handover::Handover;
use live::{Fault, Fixed, Live};
use network::Network;
use record::Recorder;
use stages::{capture, infer, retain};
pub use stop::Stop;
use supervise::Supervisor;
use threads::Threads;

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
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    pub normal: u64,
    pub anomalous: u64,
    pub abstained: u64,
    /// Frames that gave way to newer ones.
    pub dropped: u64,
    /// Verdicts that the broker has not acknowledged; the next start sends them.
    pub unsent: u64,
    /// `None` when none was sent as it came.
    pub delivery: Option<Delivery>,
}

impl Summary {
    pub fn inspected(&self) -> u64 {
        self.normal + self.anomalous + self.abstained
    }
}

/// How often a stage that waits looks up.
const WAIT: Duration = Duration::from_millis(100);
/// Inspections that may wait for the disk.
const RECORD_QUEUE: usize = 8;

/// Runs the station until the source ends or a stop is asked for. `observe` sees every inspection once it
/// is committed.
pub fn run(config: &Config, stop: &Stop, observe: impl FnMut(&Recorded<'_>)) -> Result<Summary, AgentError> {
    let source = |bundle: &Bundle| open_source(&config.station.source, bundle.camera());
    let station = open(config, source).map_err(not_started)?;
    station.run(config, stop, observe)
}

/// Runs the station on a source of the caller's, in the place of the configured one.
pub fn run_on(
    config: &Config,
    source: Box<dyn FrameSource>,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, AgentError> {
    let station = open(config, |_| Ok(source)).map_err(not_started)?;
    station.run(config, stop, observe)
}

/// Another agent on the log may be one that is ending, or that a disk does not let go: it is worth another try.
fn not_started(error: anyhow::Error) -> AgentError {
    match error.downcast_ref::<StoreError>().map(StoreError::kind) {
        Some(StoreErrorKind::InUse) => AgentError::Stopped(error),
        _ => AgentError::Refused(error),
    }
}

/// A station with everything opened and checked, nothing running.
struct Station {
    source: Box<dyn FrameSource>,
    inspector: Inspector,
    provider: Provider,
    store: Store,
    origin: Origin,
    /// Holds a folder per station; the station's own is there.
    evidence_folder: PathBuf,
}

fn open(
    config: &Config,
    source: impl FnOnce(&Bundle) -> Result<Box<dyn FrameSource>, CaptureError>,
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
    let source = source(&bundle)?;
    tracing::info!(station = station.name, "source: {}", source.describe());

    let mut store = Store::open(&database(&config.state_folder))?;
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
    let evidence_folder = evidence_folder(&config.state_folder);
    let own = evidence_folder.join(&station.name);
    std::fs::create_dir_all(&own).with_context(|| {
        format!("evidence: {}: cannot be made; a writable folder is needed", own.display())
    })?;
    let provider = Provider {
        requested: opened.provider.requested.word().to_owned(),
        active: opened.provider.active.word().to_owned(),
        fallback: opened.provider.reason,
    };
    Ok(Station { source, inspector, provider, store, origin, evidence_folder })
}

/// The database in a state folder.
pub fn database(state_folder: &Path) -> PathBuf {
    StateFolder::new(state_folder).database()
}

/// The folder in a state folder that holds a folder of evidence per station.
pub fn evidence_folder(state_folder: &Path) -> PathBuf {
    StateFolder::new(state_folder).evidence()
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

/// Opens the configured source. A camera must give what the detector was `calibrated` with, if that is known.
pub fn open_source(
    config: &SourceConfig,
    calibrated: Option<&CameraFormat>,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    Ok(match &config.kind {
        SourceKind::Folder(settings) => Box::new(FolderSource::open(settings.clone())?),
        SourceKind::Simulator(settings) => Box::new(Simulator::new(settings.clone())?),
        SourceKind::Camera(settings) => {
            if settings.device_may_move() {
                tracing::warn!(
                    "source.device = {}: the number moves when another camera is plugged in; give a by-id or by-path name that `certiscope cameras` lists",
                    settings.device.display()
                );
            }
            let calibrated = calibrated.map(ToString::to_string);
            Box::new(CameraSource::new(CameraSettings { calibrated, ..settings.clone() }))
        }
    })
}

impl Station {
    fn run(
        self,
        config: &Config,
        stop: &Stop,
        observe: impl FnMut(&Recorded<'_>),
    ) -> Result<Summary, AgentError> {
        let (store_thread, store) =
            StoreThread::start(self.store).map_err(|error| AgentError::Refused(error.into()))?;
        let parameters = Arc::clone(self.inspector.parameters());
        let fixed = Fixed {
            model: parameters.model.clone(),
            model_sha256: parameters.model_sha256.clone(),
            provider: self.provider,
            deadline_ms: parameters.deadline_ms,
            state_folder: config.state_folder.clone(),
        };
        let handover = Handover::new(config.station.source.delivery);
        let inference = self.inspector.pulse().clone();
        let (mut gate, line) = Gate::new(self.source, config.station.source.trigger);
        let triggers = line.as_ref().map(|(triggers, _)| triggers.clone());
        let commands = line.map(|(triggers, answers)| Commands::new(triggers, answers));
        let live = Arc::new(Live::new(fixed, handover, store.clone(), triggers, inference));
        let network = Network::start(config, &self.origin, &live, commands).map_err(AgentError::Refused)?;
        let recorder = Recorder {
            live: Arc::clone(&live),
            origin: self.origin.clone(),
            stop: stop.clone(),
            evidence_folder: self.evidence_folder.join(&*self.origin.station),
            keep: config.keep,
            encode: Arc::new(json_output::encode),
            min_free_bytes: config.limits.evidence.min_free_bytes,
        };
        let supervisor = Supervisor {
            live: Arc::clone(&live),
            stop: stop.clone(),
            snapshot: network.snapshot.clone(),
            connection: network.connection.clone(),
            outbox: network.outbox.clone(),
            parameters,
            bundle_folder: config.station.bundle.clone(),
            call_limit: config.station.call_limit,
            others: vec![("publish", network.watched())],
        };
        let mut retention = Retention::new(store.clone(), self.evidence_folder, config.limits);
        let (mut inspector, origin) = (self.inspector, self.origin);

        let mut threads = Threads::new(&live, stop);
        let summary = (|| {
            let (to_record, inspected) = sync_channel(RECORD_QUEUE);
            let (_recording, done) = channel::<()>();
            threads.start("supervisor", move |_, _| {
                supervisor.run(&done);
                Ok(())
            })?;
            let (path, own) = (database(&config.state_folder), origin.clone());
            threads.start("retention", move |live, stop| {
                retain(&mut retention, &path, &own, live, stop);
                Ok(())
            })?;
            threads.start("inference", move |live, _| infer(&mut inspector, live, &to_record))?;
            threads.start("capture", move |live, stop| {
                capture(&mut gate, stop, live);
                Ok(())
            })?;
            recorder.run(inspected, observe)
        })();
        let summary = summary.map_err(|error| live.fail(fault(error))).unwrap_or_default();
        stop.request();
        live.handover.close();
        let all_ended = threads.join();
        drop(recorder);
        let unsent = network.leave(&origin, &live);
        let (dropped, delivery, fault) = (live.handover.dropped(), live.delivery.figures(), live.fault());
        drop((live, store));
        if all_ended {
            store_thread.join().map_err(|error| AgentError::Stopped(error.into()))?;
        }
        match fault {
            None => Ok(Summary { dropped, unsent, delivery, ..summary }),
            Some(Fault::Passing(error)) => Err(AgentError::Stopped(error)),
            Some(Fault::Lasting(error)) => Err(AgentError::Refused(error)),
        }
    }
}

/// A log that is not sound will not be after a restart.
fn fault(error: anyhow::Error) -> Fault {
    match error.downcast_ref::<StoreError>().map(StoreError::kind) {
        Some(StoreErrorKind::Corrupt) => Fault::Lasting(error),
        _ => Fault::Passing(error),
    }
}

/// A boot in the names of its evidence.
fn short(origin: &Origin) -> String {
    origin.boot_id.simple().to_string().chars().take(8).collect()
}
