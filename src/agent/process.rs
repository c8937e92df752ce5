//! The process: what exists once for all stations, and the order in which everything starts and stops.
//!
//! Guarantees: only committed verdicts are published. A stop ends the stages in the order of the data flow, so every captured
//! frame is inspected and committed, and its verdict is delivered within a time limit. Verdicts that the broker has not
//! acknowledged stay in the outbox for the next start. Every wait at the end has a limit. A station that ends stops no other
//! station; the process ends with the last one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;

use super::error::{AgentError, FirstFault};
use super::network::Network;
use super::probe::DiskProbe;
use super::probe::Probe;
use super::record_stage::RecordedFrame;
use super::retention_thread::RetentionThread;
use super::source::open_source;
use super::station::{RunningStation, Stages, Station, Surroundings};
use super::station_status::ProcessView;
use super::supervisor::{HasEnded, Supervisor};
use super::threads::Threads;
use super::timing::WAIT;
use super::wall_clock::WallClock;
use crate::bundle::Bundle;
use crate::capture::{CaptureError, Frame, FrameSource};
use crate::config::Config;
use crate::diffusion::onnx::Runtime;
use crate::inspection::Inspection;
use crate::machine;
use crate::publish::DeliveryTimes;
use crate::pulse::Pulse;
use crate::retention::{Retention, RetentionReport};
use crate::state_folder::StateFolder;
use crate::status::{DeliveryTime, VerdictCounts};
use crate::stop::Stop;
use crate::store::{Store, StoreHandle, StoreThread};

/// How long the agent waits, after a stop, for a write that does not return.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long the agent waits, after that, for the log to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

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
    /// Frames that were replaced by newer ones before they were inspected.
    pub dropped: u64,
    /// Verdicts that the broker has not acknowledged; the next start sends them.
    pub unsent: u64,
    /// `None` if no verdict was delivered live.
    pub delivery: Option<DeliveryTime>,
}

impl Summary {
    pub fn inspected(&self) -> u64 {
        self.normal + self.anomalous + self.abstained
    }
}

/// Runs the agent until its source ends or a stop is requested. `observe` is called with every inspection once it is
/// committed.
pub(crate) fn run(
    config: &Config,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, AgentError> {
    let station = &config.station;
    let source = |bundle: &Bundle| open_source(&station.source, Some(bundle), station.region);
    run_with(config, source, Arc::new(machine::disk_free_bytes), stop, observe)
}

/// Like `run`, but with the given source instead of the configured one.
pub fn run_on(
    config: &Config,
    source: Box<dyn FrameSource>,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, AgentError> {
    run_with(config, |_| Ok(source), Arc::new(machine::disk_free_bytes), stop, observe)
}

/// Like `run_on`, with the given disk probe too. The probe reads the free space on the disk of a path, and may hang.
pub fn run_with(
    config: &Config,
    source: impl FnOnce(&Bundle) -> Result<Box<dyn FrameSource>, CaptureError>,
    disk: DiskProbe,
    stop: &Stop,
    observe: impl FnMut(&Recorded<'_>),
) -> Result<Summary, AgentError> {
    match OpenedAgent::new(config, source, stop).map_err(AgentError::at_start)? {
        Some(opened) => opened.run(config, disk, stop, observe),
        None => {
            tracing::info!("stopped before the first frame: nothing was captured, logged or published");
            Ok(Summary::default())
        }
    }
}

/// The agent with everything opened and checked, but no thread running.
struct OpenedAgent {
    store: Store,
    stations: Vec<Station>,
}

impl OpenedAgent {
    /// `None` if a stop was requested meanwhile. Opening a model may take minutes, and a log that is brought up to date too; the
    /// start is then not even recorded.
    fn new(
        config: &Config,
        source: impl FnOnce(&Bundle) -> Result<Box<dyn FrameSource>, CaptureError>,
        stop: &Stop,
    ) -> anyhow::Result<Option<Self>> {
        let runtime = Runtime::load(config.onnxruntime_library.as_deref())?;
        let evidence_folder = StateFolder::new(&config.state_folder).evidence();
        let station = Station::open(&config.station, &runtime, &evidence_folder, config.keep, source)?;
        if stop.requested() {
            return Ok(None);
        }
        let mut store = Store::open(&StateFolder::new(&config.state_folder).database())?;
        if stop.requested() {
            return Ok(None);
        }
        station.begin(&mut store, &config.text)?;
        Ok(Some(Self { store, stations: vec![station] }))
    }

    fn run(
        self,
        config: &Config,
        disk: DiskProbe,
        stop: &Stop,
        observe: impl FnMut(&Recorded<'_>),
    ) -> Result<Summary, AgentError> {
        let (store_thread, store) =
            StoreThread::start(self.store).map_err(|error| AgentError::Refused(error.into()))?;
        let process =
            Process::start(config, self.stations, store, disk, stop).map_err(AgentError::Refused)?;
        let calls = process.store.pulse().clone();
        let (summary, fault) = process.run_to_the_end(observe);
        let closed = close(store_thread, &calls);
        match fault {
            Some(fault) => Err(fault),
            None => closed.map(|()| summary),
        }
    }
}

/// Waits until the log is closed, at most [`CLOSE_LIMIT`]. `calls` is at work while a call to the disk runs.
fn close(store: StoreThread, calls: &Pulse) -> Result<(), AgentError> {
    let deadline = Instant::now() + CLOSE_LIMIT;
    while !store.has_ended() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    if store.has_ended() {
        return store.join().map_err(|error| AgentError::Stopped(error.into()));
    }
    if calls.working_for().is_some() {
        return Err(AgentError::Stopped(anyhow!(
            "store: a call to the disk has not returned {} s after the stop, and the log is not closed in order: look at the \
             disk, or at the network it is on",
            CLOSE_LIMIT.as_secs()
        )));
    }
    // Everything asked for is on the disk.
    tracing::warn!(
        "store: the log is not closed in order, because a thread that does not return still uses it"
    );
    Ok(())
}

/// The running agent.
struct Process {
    store: StoreHandle,
    network: Network,
    stations: Vec<RunningStation>,
    threads: Threads,
    recorded: Receiver<RecordedFrame>,
    /// Dropped when everything else has ended; then the supervisor ends.
    supervising: Sender<()>,
    stop: Stop,
    fault: FirstFault,
}

impl Process {
    /// Starts all threads. Those that take frames come last.
    fn start(
        config: &Config,
        stations: Vec<Station>,
        store: StoreHandle,
        disk: DiskProbe,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        let fault = FirstFault::default();
        let network = Network::start()?;
        let (clock, retention) = (WallClock::new(), Pulse::default());
        let evidence = StateFolder::new(&config.state_folder).evidence();
        let evidence_disk = (!machine::same_disk(&config.state_folder, &evidence)).then_some(evidence);
        let (report, deletion) = watch::channel(RetentionReport::default());
        let asked = (Arc::clone(&disk), config.state_folder.clone());
        let view = ProcessView {
            store: store.clone(),
            retention: retention.clone(),
            disk: Probe::start("disk", None, WAIT, move || asked.0(&asked.1))?.answered(),
            evidence_disk: match &evidence_disk {
                Some(folder) => {
                    let asked = (Arc::clone(&disk), folder.clone());
                    Some(Probe::start("evidence disk", None, WAIT, move || asked.0(&asked.1))?.answered())
                }
                None => None,
            },
            clock: clock.clone(),
            deletion,
        };
        let origins = stations.iter().map(|station| station.origin.clone()).collect();
        let (observed, recorded) = sync_channel(0);
        let surroundings = Surroundings {
            config,
            process: &view,
            store: &store,
            network: &network,
            stop,
            fault: &fault,
            recorded: observed,
        };
        let prepared = stations
            .into_iter()
            .map(|station| station.prepare(&surroundings))
            .collect::<anyhow::Result<Vec<_>>>()?;
        drop(surroundings); // from now on only record stages have `observed`: when the last one ends, the run ends
        let (mut running, mut stages, mut supervised, mut metrics) = (vec![], vec![], vec![], vec![]);
        for station in prepared {
            running.push(station.running);
            stages.push(station.stages);
            supervised.push(station.supervised);
            metrics.push(station.metrics);
        }
        let mut tasks: Vec<(&'static str, HasEnded)> = Vec::new();
        if let Some(address) = config.metrics_listen {
            let serving = network.serve_metrics(address, metrics)?;
            tasks.push(("metrics", Box::new(move || serving.is_finished())));
        }
        let supervisor = Supervisor {
            process: view,
            stations: supervised,
            stop: stop.clone(),
            fault: fault.clone(),
            tasks,
        };
        let retention = RetentionThread {
            retention: Retention::new(
                store.clone(),
                StateFolder::new(&config.state_folder).evidence(),
                config.limits,
            ),
            database: StateFolder::new(&config.state_folder).database(),
            state_folder: config.state_folder.clone(),
            evidence_disk,
            origins,
            disk,
            clock,
            pulse: retention,
            report,
            stop: stop.clone(),
            fault: fault.clone(),
        };
        let (supervising, done) = channel::<()>();
        let mut process = Self {
            store,
            network,
            stations: running,
            threads: Threads::new(fault.clone()),
            recorded,
            supervising,
            stop: stop.clone(),
            fault,
        };
        // From here on threads run that must be stopped in order. So an error is not returned, but reported as a fault.
        if let Err(error) = process.start_threads(supervisor, done, retention, stages) {
            process.fault.report(AgentError::while_running(error));
            process.stop.request();
        }
        Ok(process)
    }

    fn start_threads(
        &mut self,
        supervisor: Supervisor,
        done: Receiver<()>,
        retention: RetentionThread,
        stages: Vec<Stages>,
    ) -> anyhow::Result<()> {
        let at_end = || {
            let stop = self.stop.clone();
            move || stop.request()
        };
        self.threads.start("supervisor", at_end(), move || {
            supervisor.run(&done);
            Ok(())
        })?;
        self.threads.start("retention", at_end(), move || {
            retention.run();
            Ok(())
        })?;
        for (station, stages) in self.stations.iter_mut().zip(stages) {
            station.start(stages)?;
        }
        Ok(())
    }

    /// Calls `observe` with every inspection until the last station has ended, then stops everything in order. Returns the
    /// summary, and the fault that ended the run.
    fn run_to_the_end(self, observe: impl FnMut(&Recorded<'_>)) -> (Summary, Option<AgentError>) {
        let verdicts = self.observe(observe);
        let Self { store, network, stations, threads, supervising, stop, fault, .. } = self;
        stop.request();
        stations.iter().for_each(RunningStation::close);
        let ended: Vec<_> = stations.into_iter().map(RunningStation::join).collect();
        drop(supervising);
        threads.join(|_| false);
        let mut summary = Summary {
            normal: verdicts.normal,
            anomalous: verdicts.anomalous,
            abstained: verdicts.abstain,
            dropped: ended.iter().map(|station| station.handover.dropped()).sum(),
            ..Summary::default()
        };
        let delivery = ended.iter().map(|station| station.delivery.clone()).collect::<Vec<_>>();
        let uplinks = ended.into_iter().map(|station| (station.origin, station.uplink)).collect();
        summary.unsent = network.leave(uplinks, &store, &fault);
        summary.delivery = delivery.iter().find_map(DeliveryTimes::figures);
        (summary, fault.take())
    }

    /// Calls `observe` with every inspection. Returns when every record stage has ended, or when one hangs after a stop.
    fn observe(&self, mut observe: impl FnMut(&Recorded<'_>)) -> VerdictCounts {
        let mut verdicts = VerdictCounts::default();
        loop {
            match self.recorded.recv_timeout(WAIT) {
                Ok(RecordedFrame { seq, frame, inspection }) => {
                    verdicts.count(inspection.verdict);
                    observe(&Recorded { seq, frame: &frame, inspection: &inspection });
                }
                Err(RecvTimeoutError::Disconnected) => return verdicts,
                Err(RecvTimeoutError::Timeout) => {
                    let hangs = |station: &RunningStation| station.record_hangs_at_the_end(END_LIMIT);
                    if let Some(station) = self.stations.iter().find(|station| hangs(station)) {
                        self.fault.report(AgentError::Stopped(anyhow!(
                            "station {}: a write has not returned for {} s after the stop; the inspections that wait for it \
                             are lost: look at the disk, or at the network it is on",
                            station.origin.station,
                            END_LIMIT.as_secs()
                        )));
                        return verdicts;
                    }
                }
            }
        }
    }
}
