//! What the station knows of itself, for Prometheus: `GET /metrics` in the OpenMetrics text format.
//!
//! Guarantees: everything is read at the moment of the question, the same as `status` says; asking makes no stage
//! wait. Off by default, and on this machine only (the configuration refuses any other address).
//! Leaves out: anything that a browser would want.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use crate::publish::json_output;
use crate::publish::wire::{Snapshot, SourceState};
use crate::store::{Backlog, StoreHandle};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long an answer waits for the log.
const STORE_LIMIT: Duration = Duration::from_millis(500);

type Labels = [(&'static str, String); 1];

/// Listens on `address` and answers from then on, in a task of the running runtime.
pub async fn start(
    address: SocketAddr,
    station: Arc<str>,
    store: StoreHandle,
    snapshot: impl Fn() -> Snapshot + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("metrics.listen = {address}: cannot be listened on; give a free port, or leave [metrics] out")
    })?;
    let answer = move || {
        let (station, store, snapshot) = (Arc::clone(&station), store.clone(), snapshot.clone());
        async move {
            // A log that does not answer leaves its numbers out, and the store's condition says why.
            let backlog = timeout(STORE_LIMIT, store.backlog(&station, json_output::JSON))
                .await
                .ok()
                .and_then(Result::ok);
            ([(CONTENT_TYPE, OPENMETRICS)], text(&station, &snapshot(), backlog, Timestamp::now()))
        }
    };
    let router = axum::Router::new().route("/metrics", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

/// The metrics as text.
fn text(station: &str, snapshot: &Snapshot, backlog: Option<Backlog>, now: Timestamp) -> String {
    let labels = [("station".into(), station.to_owned().into())];
    let mut registry = Registry::with_prefix_and_labels("certiscope", labels.into_iter());
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            registry.register(name, help, ConstGauge::new(value));
        }
    };
    counters(&mut registry, "verdicts", "Verdicts since the start", "verdict", &snapshot.verdicts);
    counters(&mut registry, "drops", "What was not done for a frame", "cause", &snapshot.drops);
    let queues = snapshot.queues.iter().map(|(name, waiting)| (*name, *waiting as i64));
    gauges(&mut registry, "queue", "What waits before a stage", "stage", queues);
    let turns = snapshot.stages.iter().map(|(name, stage)| (*name, stage.turns)).collect();
    counters(
        &mut registry,
        "stage_turns",
        "Turns of a stage's loop; one that stands still hangs",
        "stage",
        &turns,
    );
    let working = snapshot.stages.iter().map(|(name, stage)| (*name, stage.working_ms.unwrap_or(0) as i64));
    gauges(
        &mut registry,
        "stage_working_milliseconds",
        "Time in the present piece of work",
        "stage",
        working,
    );
    let conditions = [
        ("bundle", snapshot.bundle.state),
        ("source", snapshot.source.state.word()),
        ("store", snapshot.store.state),
        ("evidence", snapshot.evidence.state),
    ];
    let well = conditions.map(|(name, state)| (name, i64::from(state == "ok")));
    gauges(
        &mut registry,
        "ok",
        "1 while a condition is ok, 0 while it is anything else",
        "of",
        well.into_iter(),
    );
    let state = snapshot.source.state.word();
    let source = SourceState::WORDS.map(|word| (word, i64::from(word == state)));
    let help = "1 for the state that the source is in, 0 for every other";
    gauges(&mut registry, "source_state", help, "state", source.into_iter());
    if let Some(delivery) = snapshot.delivery {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (quantile, ms) in [("0.5", delivery.p50_ms), ("0.99", delivery.p99_ms)] {
            family.get_or_create(&[("quantile", quantile.to_owned())]).set(ms / 1e3);
        }
        let help = "From a frame to the broker's word that it has the verdict, over the newest 1000";
        registry.register("delivery_seconds", help, family);
    }
    if let Some(triggers) = &snapshot.triggers {
        counters(&mut registry, "triggers", "Answers to the line's triggers", "ack", triggers);
    }
    if let Some(backlog) = backlog {
        let age = backlog.oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
        gauge(&mut registry, "outbox_rows", "Verdicts without the broker's word", Some(backlog.depth as i64));
        gauge(&mut registry, "outbox_age_seconds", "Age of the oldest of them", Some(age));
    }
    let free = snapshot.disk_free_bytes.map(|bytes| bytes as i64);
    gauge(&mut registry, "disk_free_bytes", "Room on the disk of the store", free);
    let memory = snapshot.memory_bytes.map(|bytes| bytes as i64);
    gauge(&mut registry, "memory_bytes", "Resident memory", memory);
    let synchronised = snapshot.clock_synchronised.map(i64::from);
    gauge(&mut registry, "clock_synchronised", "1 while the clock follows a reference", synchronised);
    registry.register("clock_steps", "Jumps of the clock", ConstCounter::new(snapshot.clock.steps));
    let mut text = String::new();
    encode(&mut text, &registry).expect("text takes any metric");
    text
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &BTreeMap<&'static str, u64>,
) {
    let family = Family::<Labels, Counter>::default();
    for (value, count) in values {
        family.get_or_create(&[(label, (*value).to_owned())]).inc_by(*count);
    }
    registry.register(name, help, family);
}

fn gauges(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl Iterator<Item = (&'static str, i64)>,
) {
    let family = Family::<Labels, Gauge>::default();
    for (value, measured) in values {
        family.get_or_create(&[(label, value.to_owned())]).set(measured);
    }
    registry.register(name, help, family);
}
