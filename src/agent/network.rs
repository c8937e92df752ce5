//! The tasks of a station: its pump, and metrics where they are asked for.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio::sync::watch;

use super::fault;
use super::live::{Fault, Live};
use super::supervise::HasEnded;
use crate::config::Config;
use crate::metrics;
use crate::publish::json_output::JSON;
use crate::publish::wire::Snapshot;
use crate::publish::{Commands, Connection, PublishContext, Pump, Timing};
use crate::store::{Backlog, Origin, StoreError};

/// A small runtime of their own, with one thread, `network`.
pub(super) struct Network {
    runtime: tokio::runtime::Runtime,
    pump: tokio::task::JoinHandle<Result<(), StoreError>>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) outbox: watch::Receiver<Backlog>,
    shutdown: watch::Sender<bool>,
}

impl Network {
    pub(super) fn start(
        config: &Config,
        origin: &Origin,
        live: &Arc<Live>,
        commands: Option<Commands>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .context("network runtime")?;
        let (snapshot, snapshots) = watch::channel(live.snapshot());
        let (shutdown, asked) = watch::channel(false);
        let (connections, connection) = watch::channel(Connection::Starting);
        let (backlogs, outbox) = watch::channel(Backlog::default());
        let context = PublishContext {
            broker: config.station.broker.clone(),
            topics: config.station.topics.clone(),
            origin: origin.clone(),
            timing: Timing::default(),
            store: live.store.clone(),
            snapshot: snapshots,
            connection: connections,
            outbox: backlogs,
            delivery: live.delivery.clone(),
            commands,
            shutdown: asked,
            pulse: live.pulses.publish.clone(),
        };
        if let Some(address) = config.metrics_listen {
            let live = Arc::clone(live);
            let station = Arc::clone(&origin.station);
            runtime
                .block_on(metrics::start(address, station, live.store.clone(), move || live.snapshot()))?;
        }
        let pump = runtime.spawn(Pump::new(context).run());
        Ok(Self { runtime, pump, snapshot, connection, outbox, shutdown })
    }

    /// Tells whether the pump has ended.
    pub(super) fn watched(&self) -> HasEnded {
        let pump = self.pump.abort_handle();
        Box::new(move || pump.is_finished())
    }

    /// Drains the outbox within limits and leaves the broker; how much it did not take.
    pub(super) fn leave(self, origin: &Origin, live: &Live) -> u64 {
        self.snapshot.send_replace(live.snapshot()); // for the last `status`
        let _ = self.shutdown.send(true); // a pump that has ended is told by what it returns
        match self.runtime.block_on(self.pump) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => live.fail(fault(error.into())),
            Err(error) => live.fail(Fault::Passing(anyhow!("publish: {error}"))),
        }
        self.runtime.block_on(live.store.backlog(&origin.station, JSON)).map_or(0, |backlog| backlog.depth)
    }
}
