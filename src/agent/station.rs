//! A station: its source, its inspector and its threads, from opening them to joining them.
//!
//! The threads are `capture`, `inference`, `record`, and `model`, which owns the model. Bounded queues connect them in the
//! order of the data flow. When one of the first three ends, for whatever reason, the station is asked to stop and its hand-over
//! is closed, so that the others end too. Other stations continue.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;
use uuid::Uuid;

use super::bundle_watch::BundleWatch;
use super::capture_stage::CaptureStage;
use super::error::FirstFault;
use super::handover::Handover;
use super::inference_stage::InferenceStage;
use super::network::{Network, Publisher, Uplink};
use super::probe::Probe;
use super::record_queue::record_queue;
use super::record_stage::{RecordStage, RecordedFrame};
use super::reports::{CaptureReporter, RecordReporter};
use super::station_status::{ProcessView, StationPulses, StationView};
use super::supervisor::SupervisedStation;
use super::threads::Threads;
use crate::bundle::Bundle;
use crate::capture::trigger::TriggerGate;
use crate::capture::{CaptureError, FrameSource};
use crate::config::{Config, StationConfig};
use crate::detector::Detector;
use crate::diffusion::onnx::Runtime;
use crate::evidence::Keep;
use crate::inference::{self, ModelHandle};
use crate::inspection::InspectorSettings;
use crate::inspector::Inspector;
use crate::metrics::StationMetrics;
use crate::publish::{Commands, DeliveryTimes, json_output};
use crate::pulse::Pulse;
use crate::status::{Condition, ModelStatus};
use crate::stop::Stop;
use crate::store::{Boot, Origin, Store, StoreHandle};

/// The thread that owns the model.
const MODEL_THREAD: &str = "model";
/// How often the files of the bundle are checked.
const BUNDLE: Duration = Duration::from_secs(5);

/// A station with everything opened and checked, but no thread running.
pub(super) struct Station {
    config: StationConfig,
    source: Box<dyn FrameSource>,
    detector: Detector,
    inspector: Inspector,
    model: ModelStatus,
    bundle: BundleWatch,
    bundle_folder: PathBuf,
    pub origin: Origin,
    /// The evidence folder of this station.
    evidence_folder: PathBuf,
}

/// The settings for inspecting, from the configuration.
pub(crate) fn inspector_settings(station: &StationConfig) -> InspectorSettings {
    let smoothing = &station.smoothing;
    InspectorSettings {
        region: station.region,
        rule: smoothing.rule.clone(),
        required_radius: smoothing.required_radius,
        deadline_ms: smoothing.deadline_ms,
        recipe: station.recipe.clone(),
        report_empirical: station.report_empirical,
    }
}

impl Station {
    /// Loads the bundle, opens the model and the source.
    pub(super) fn open(
        config: &StationConfig,
        runtime: &Runtime,
        evidence_folder: &Path,
        keep: Keep,
        source: impl FnOnce(&Bundle) -> Result<Box<dyn FrameSource>, CaptureError>,
    ) -> anyhow::Result<Self> {
        let bundle = Bundle::load(&config.bundle)?;
        let batch = config.smoothing.batch.get();
        let (detector, opened) = Detector::open(&bundle, runtime, &config.session, batch)?;
        tracing::info!(
            bundle = bundle.label(),
            provider = opened.provider.active.word(),
            "model open; golden vectors within {:.1e} of the spread ({:.0e} allowed)",
            opened.self_test.worst,
            opened.self_test.tolerance
        );
        if let Some(reason) = &opened.provider.reason {
            tracing::warn!(
                "provider {} was requested but is not used: {reason}",
                opened.provider.requested.word()
            );
        }
        if bundle.picture_range().is_none() {
            tracing::warn!(
                bundle = bundle.label(),
                "the bundle knows no range of its pictures: a picture of another kind is inspected too; calibrate again to get one"
            );
        }
        let heat_map_wanted = move |verdict, seed| keep.wants(verdict, seed);
        let settings = inspector_settings(config);
        let inspector = Inspector::new(&bundle, &detector, &opened.provider, &settings, heat_map_wanted)
            .with_context(|| format!("station {}", config.name))?;
        let source = source(&bundle)?;
        tracing::info!(station = config.name, "source: {}", source.describe());
        let origin = Origin { boot_id: Uuid::new_v4(), station: config.name.as_str().into() };
        let model = ModelStatus {
            label: inspector.parameters().model.clone(),
            sha256: inspector.parameters().model_sha256.clone(),
            requested: opened.provider.requested,
            computation: inspector.parameters().computation.clone(),
            fallback: opened.provider.reason,
        };
        Ok(Self {
            config: config.clone(),
            source,
            detector,
            inspector,
            model,
            bundle: BundleWatch::new(&bundle),
            bundle_folder: bundle.folder,
            origin,
            evidence_folder: evidence_folder.join(&config.name),
        })
    }

    /// Records this start in the log, and creates the folder for evidence.
    pub(super) fn begin(&self, store: &mut Store, configuration: &str) -> anyhow::Result<()> {
        store.begin(
            &self.origin,
            &Boot {
                started_at: jiff::Timestamp::now(),
                version: env!("CARGO_PKG_VERSION"),
                configuration,
                bundle_folder: &std::path::absolute(&self.bundle_folder)?,
                parameters: self.inspector.parameters(),
            },
        )?;
        std::fs::create_dir_all(&self.evidence_folder).with_context(|| {
            format!(
                "evidence: {}: cannot be created; set a folder that certiscope may write, under [store]",
                self.evidence_folder.display()
            )
        })
    }
}

/// What a station uses of its process.
pub(super) struct Surroundings<'a> {
    pub config: &'a Config,
    pub process: &'a ProcessView,
    pub store: &'a StoreHandle,
    pub network: &'a Network,
    pub stop: &'a Stop,
    pub fault: &'a FirstFault,
    /// Receives every inspection once it is committed.
    pub recorded: SyncSender<RecordedFrame>,
}

/// A station whose threads run, or are about to.
pub(super) struct RunningStation {
    pub origin: Origin,
    pub uplink: Uplink,
    pub handover: Arc<Handover>,
    pub delivery: DeliveryTimes,
    stop: Stop,
    threads: Threads,
    model: ModelHandle,
    call_limit: Duration,
    record: Pulse,
}

/// The stages of a station before their threads run.
pub(super) struct Stages {
    capture: CaptureStage,
    inference: InferenceStage,
    record: RecordStage,
}

/// A station that is connected to its process but takes no frames yet.
pub(super) struct PreparedStation {
    pub running: RunningStation,
    pub stages: Stages,
    pub supervised: SupervisedStation,
    pub metrics: StationMetrics,
}

impl Station {
    /// Connects the station to its process.
    pub(super) fn prepare(self, surroundings: &Surroundings<'_>) -> anyhow::Result<PreparedStation> {
        let Surroundings { config, process, store, network, fault, .. } = *surroundings;
        let stop = surroundings.stop.child();
        let inspector = Arc::new(self.inspector);
        let (model_thread, model) = inference::start(self.detector)
            .context("thread model: the system allows no more threads or memory")?;
        let (gate, line) = TriggerGate::new(self.source, self.config.source.trigger);
        let triggers = line.as_ref().map(|(triggers, _)| triggers.clone());
        let commands = line.map(|(triggers, answers)| Commands::new(triggers, answers));
        let handover = Arc::new(Handover::new(self.config.source.delivery));
        let pulses = StationPulses::default();
        let (capture_report, capture) = CaptureReporter::new(pulses.capture.clone());
        let (record_report, record) = RecordReporter::new();
        let (to_record, record_queue, to_record_length) = record_queue();
        let delivery = DeliveryTimes::default();
        let mut bundle = self.bundle;
        let view = StationView {
            name: Arc::clone(&self.origin.station),
            model: self.model,
            deadline_ms: inspector.parameters().deadline_ms,
            call_limit: self.config.call_limit,
            limits: config.limits,
            capture,
            record,
            bundle: Probe::start("bundle", Condition::ok(), BUNDLE, move || bundle.look())?,
            handover: Arc::clone(&handover),
            to_record: to_record_length,
            triggers,
            delivery: delivery.clone(),
            pulses: pulses.clone(),
        };
        let status = Arc::new(view.status(&process.read()));
        let publisher = Publisher {
            station: &self.config,
            origin: &self.origin,
            store,
            delivery: delivery.clone(),
            commands,
            pulse: pulses.publish.clone(),
        };
        let uplink = network.publish(publisher, Arc::clone(&status));
        let (current, readers) = watch::channel(status);
        let publishing = uplink.abort_handle();
        let supervised = SupervisedStation {
            view,
            current,
            announced: uplink.status.clone(),
            connection: uplink.connection.clone(),
            outbox: uplink.outbox.clone(),
            stop: stop.clone(),
            tasks: vec![("publish", Box::new(move || publishing.is_finished()))],
            refreshed: Instant::now(),
        };
        let inference = InferenceStage {
            handover: Arc::clone(&handover),
            model: model.clone(),
            inspector,
            call_limit: self.config.call_limit,
            record: to_record,
            pulse: pulses.inference.clone(),
            fault: fault.clone(),
        };
        let record = RecordStage {
            queue: record_queue,
            store: store.clone(),
            origin: self.origin.clone(),
            stop: stop.clone(),
            evidence_folder: self.evidence_folder,
            keep: config.keep,
            encode: Arc::new(json_output::encode),
            min_free_bytes: config.limits.evidence.min_free_bytes,
            disk_free_bytes: process.evidence_disk.as_ref().unwrap_or(&process.disk).reader(),
            report: record_report,
            pulse: pulses.record.clone(),
            recorded: surroundings.recorded.clone(),
        };
        let metrics = StationMetrics {
            station: Arc::clone(&self.origin.station),
            store: store.clone(),
            status: readers,
        };
        let capture = CaptureStage {
            gate,
            handover: Arc::clone(&handover),
            report: capture_report,
            pulse: pulses.capture,
            stop: stop.clone(),
        };
        let mut threads = Threads::new(fault.clone());
        threads.add(MODEL_THREAD, model_thread);
        let call_limit = self.config.call_limit;
        Ok(PreparedStation {
            running: RunningStation {
                origin: self.origin,
                uplink,
                handover,
                delivery,
                stop,
                threads,
                model,
                call_limit,
                record: pulses.record,
            },
            stages: Stages { capture, inference, record },
            supervised,
            metrics,
        })
    }
}

impl RunningStation {
    /// Starts the stages in reverse order of the data flow: `record` first, `capture` last.
    pub(super) fn start(&mut self, stages: Stages) -> anyhow::Result<()> {
        let Stages { capture, inference, record } = stages;
        let (stop, handover) = (self.stop.clone(), Arc::clone(&self.handover));
        let at_end = || {
            let (stop, handover) = (stop.clone(), Arc::clone(&handover));
            move || {
                stop.request();
                handover.close();
            }
        };
        self.threads.start("record", at_end(), move || record.run())?;
        self.threads.start("inference", at_end(), move || inference.run())?;
        self.threads.start("capture", at_end(), move || {
            capture.run();
            Ok(())
        })
    }

    /// Stops taking frames. Frames that were handed over are still inspected.
    pub(super) fn close(&self) {
        self.stop.request();
        self.handover.close();
    }

    /// Whether a stop was requested and the pulse of the record stage has not changed for longer than `limit`.
    pub(super) fn record_hangs_at_the_end(&self, limit: Duration) -> bool {
        self.stop.requested() && self.record.still_for() > limit
    }

    /// Waits for the threads, within a limit.
    pub(super) fn join(self) -> EndedStation {
        let Self { origin, uplink, handover, delivery, threads, model, call_limit, .. } = self;
        let calls = model.pulse().clone();
        drop(model);
        let hangs =
            |name: &str| name == MODEL_THREAD && calls.working_for().is_some_and(|time| time > call_limit);
        threads.join(hangs);
        EndedStation { origin, uplink, handover, delivery }
    }
}

/// What is still needed of a station whose threads have ended.
pub(super) struct EndedStation {
    pub origin: Origin,
    pub uplink: Uplink,
    pub handover: Arc<Handover>,
    pub delivery: DeliveryTimes,
}
