//! The network thread of the process: the broker connections of all stations, and the metrics if they are configured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::error::{AgentError, FirstFault};
use crate::config::StationConfig;
use crate::metrics::{self, StationMetrics};
use crate::publish::json_output::JSON;
use crate::publish::{Commands, Connection, DeliveryTimes, PublishContext, Pump, Timing};
use crate::pulse::Pulse;
use crate::status::Status;
use crate::store::{Backlog, Origin, StoreError, StoreHandle};

/// How long the agent waits at its end for a publish task. Longer than the task's own limits together.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);

/// How long the agent waits at its end for the log, to read how much was not sent.
const STORE_LIMIT: Duration = Duration::from_millis(500);

/// A runtime with one thread, `network`.
pub(super) struct Network {
    runtime: Runtime,
}

/// What is needed to publish the verdicts of a station.
pub(super) struct Publisher<'a> {
    pub station: &'a StationConfig,
    pub origin: &'a Origin,
    pub store: &'a StoreHandle,
    pub delivery: DeliveryTimes,
    pub commands: Option<Commands>,
    pub pulse: Pulse,
}

/// The publish task of a station, as the rest of the agent sees it.
pub(super) struct Uplink {
    task: JoinHandle<Result<(), StoreError>>,
    /// The status that is sent to the broker.
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) outbox: watch::Receiver<Backlog>,
    shutdown: watch::Sender<bool>,
}

impl Network {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .context("thread network: the system allows no more threads or memory")?;
        Ok(Self { runtime })
    }

    /// Serves the metrics of `stations` on `address`, until the process ends.
    pub(super) fn serve_metrics(
        &self,
        address: SocketAddr,
        stations: Vec<StationMetrics>,
    ) -> anyhow::Result<AbortHandle> {
        self.runtime.block_on(metrics::start(address, stations)).map(|task| task.abort_handle())
    }

    /// Starts the task that publishes what a station commits.
    pub(super) fn publish(&self, publisher: Publisher<'_>, status: Arc<Status>) -> Uplink {
        let (status, statuses) = watch::channel(status);
        let (shutdown, asked) = watch::channel(false);
        let (connections, connection) = watch::channel(Connection::Starting);
        let (backlogs, outbox) = watch::channel(Backlog::default());
        let context = PublishContext {
            broker: publisher.station.broker.clone(),
            topics: publisher.station.topics.clone(),
            origin: publisher.origin.clone(),
            timing: Timing::default(),
            store: publisher.store.clone(),
            status: statuses,
            connection: connections,
            outbox: backlogs,
            delivery: publisher.delivery,
            commands: publisher.commands,
            shutdown: asked,
            pulse: publisher.pulse,
        };
        let task = self.runtime.spawn(Pump::new(context).run());
        Uplink { task, status, connection, outbox, shutdown }
    }

    /// Sends the rest of the outboxes, within limits, and disconnects. Returns how many verdicts are not acknowledged.
    pub(super) fn leave(
        self,
        uplinks: Vec<(Origin, Uplink)>,
        store: &StoreHandle,
        fault: &FirstFault,
    ) -> u64 {
        for (_, uplink) in &uplinks {
            let _ = uplink.shutdown.send(true); // fails if the task has ended; its result is read below
        }
        self.runtime.block_on(async {
            let mut unsent = 0;
            for (origin, uplink) in uplinks {
                match timeout(LEAVE_LIMIT, uplink.task).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => fault.report(AgentError::while_running(error.into())),
                    Ok(Err(error)) => fault.report(AgentError::Stopped(anyhow!("publish: {error}"))),
                    Err(_) => fault.report(AgentError::Stopped(anyhow!(
                        "publish: the task has not ended {} s after it was asked to, and is no longer waited for",
                        LEAVE_LIMIT.as_secs()
                    ))),
                }
                // If the log does not answer, the number that was read last is used.
                let backlog = timeout(STORE_LIMIT, store.backlog(&origin.station, JSON))
                    .await
                    .ok()
                    .and_then(Result::ok);
                unsent += backlog.map_or(uplink.outbox.borrow().depth, |backlog| backlog.depth);
            }
            unsent
        })
    }
}

impl Uplink {
    /// A handle that shows whether the task has ended.
    pub(super) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }
}
