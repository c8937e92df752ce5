//! The metrics of all stations for Prometheus: `GET /metrics` in the OpenMetrics text format.
//!
//! Guarantees: the numbers are those of the newest status, at most a tenth of a second old, and the outbox is read from the
//! log for each request. A request makes no stage wait. Off by default, and reachable from this machine only (the
//! configuration refuses any other address).
//! Leaves out: pages for a browser.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::publish::json_output::JSON;
use crate::status::{SourceState, Status};
use crate::store::{Backlog, StoreHandle};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a request waits for the log.
const STORE_LIMIT: Duration = Duration::from_millis(500);

/// Where the numbers of one station come from.
#[derive(Debug, Clone)]
pub(crate) struct StationMetrics {
    pub station: Arc<str>,
    pub store: StoreHandle,
    pub status: watch::Receiver<Arc<Status>>,
}

/// The numbers of one station at one time.
struct Reading {
    station: Arc<str>,
    status: Arc<Status>,
    /// `None` if the log does not answer; the store's state says why.
    backlog: Option<Backlog>,
}

impl StationMetrics {
    async fn read(&self) -> Reading {
        let backlog =
            timeout(STORE_LIMIT, self.store.backlog(&self.station, JSON)).await.ok().and_then(Result::ok);
        Reading { station: Arc::clone(&self.station), status: Arc::clone(&self.status.borrow()), backlog }
    }
}

/// Listens on `address`, and answers requests in a task of the current runtime.
pub(crate) async fn start(
    address: SocketAddr,
    stations: Vec<StationMetrics>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("metrics.listen = {address}: cannot listen there; use a free port, or leave [metrics] out")
    })?;
    let stations: Arc<[StationMetrics]> = stations.into();
    let answer = move || {
        let stations = Arc::clone(&stations);
        async move {
            let mut readings = Vec::new();
            for station in stations.iter() {
                readings.push(station.read().await);
            }
            ([(CONTENT_TYPE, OPENMETRICS)], text(&readings, Timestamp::now()))
        }
    };
    let router = axum::Router::new().route("/metrics", get(answer));
    Ok(tokio::spawn(async move { axum::serve(listener, router).await }))
}

/// The metrics as text.
fn text(readings: &[Reading], now: Timestamp) -> String {
    let mut page = Page { readings, registry: Registry::with_prefix("certiscope") };
    page.counters("verdicts", "Verdicts since the start", "verdict", |status| status.verdicts.by_word());
    page.counters("drops", "What was not done for a frame", "cause", |status| status.drops.by_word());
    page.gauges("queue", "What waits before a stage", "stage", |status| status.queues.by_word());
    let turns =
        |status: &Status| status.stages.iter().map(|stage| (stage.stage.word(), stage.turns)).collect();
    page.counters("stage_turns", "Passes of a stage's loop; it hangs when they do not grow", "stage", turns);
    let working = |status: &Status| {
        let ms = |time: Option<Duration>| time.map_or(0, |time| time.as_millis() as u64);
        status.stages.iter().map(|stage| (stage.stage.word(), ms(stage.working))).collect()
    };
    page.gauges("stage_working_milliseconds", "Time in the present piece of work", "stage", working);
    let well = |status: &Status| {
        [
            ("bundle", status.bundle.is_ok()),
            ("source", status.source.state == SourceState::Ok),
            ("store", status.store.is_ok()),
            ("evidence", status.evidence.is_ok()),
        ]
        .map(|(name, is_ok)| (name, u64::from(is_ok)))
        .into()
    };
    page.gauges("ok", "1 while a condition is ok, 0 while it is anything else", "of", well);
    let source = |status: &Status| {
        SourceState::WORDS.map(|word| (word, u64::from(word == status.source.state.word()))).into()
    };
    let help = "1 for the state that the source is in, 0 for every other";
    page.gauges("source_state", help, "state", source);
    page.delivery();
    let triggers = |status: &Status| status.triggers.clone().unwrap_or_default();
    page.counters("triggers", "Answers to the line's triggers", "ack", triggers);
    let evidence = |status: &Status| status.deleted.evidence_by_word();
    page.counters("deleted_evidence", "Folders of evidence that retention deleted", "by", evidence);
    let rows = |status: &Status| status.deleted.rows_by_word();
    page.counters("deleted_rows", "Rows of the log that retention deleted", "by", rows);
    page.gauge("outbox_rows", "Verdicts that the broker has not acknowledged", |reading| {
        Some(reading.backlog.as_ref()?.depth as i64)
    });
    page.gauge("outbox_age_seconds", "Age of the oldest of them", |reading| {
        let oldest = reading.backlog.as_ref()?.oldest;
        Some(oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0)))
    });
    page.gauge("disk_free_bytes", "Room on the disk of the store", |reading| {
        reading.status.machine.disk_free_bytes.map(|bytes| bytes as i64)
    });
    page.gauge("memory_bytes", "Resident memory", |reading| {
        reading.status.machine.memory_bytes.map(|bytes| bytes as i64)
    });
    page.gauge("clock_synchronised", "1 while the clock follows a reference", |reading| {
        reading.status.clock.synchronised.map(i64::from)
    });
    page.clock_steps();
    let mut text = String::new();
    encode(&mut text, &page.registry).expect("text takes any metric");
    text
}

/// The label `station`, and at most one more.
type Labels = Vec<(&'static str, String)>;

/// The metrics of all stations, one family after the other, since each name must appear only once.
struct Page<'a> {
    readings: &'a [Reading],
    registry: Registry,
}

impl Page<'_> {
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Fn(&Status) -> BTreeMap<&'static str, u64>,
    ) {
        self.family::<Counter>(name, help, |reading, family| {
            for (value, count) in values(&reading.status) {
                family.get_or_create(&labels(reading, Some((label, value)))).inc_by(count);
            }
        });
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Fn(&Status) -> BTreeMap<&'static str, u64>,
    ) {
        self.family::<Gauge>(name, help, |reading, family| {
            for (value, measured) in values(&reading.status) {
                family.get_or_create(&labels(reading, Some((label, value)))).set(measured as i64);
            }
        });
    }

    /// One number for each station; no line if it is not known.
    fn gauge(&mut self, name: &str, help: &str, value: impl Fn(&Reading) -> Option<i64>) {
        self.family::<Gauge>(name, help, |reading, family| {
            if let Some(value) = value(reading) {
                family.get_or_create(&labels(reading, None)).set(value);
            }
        });
    }

    fn delivery(&mut self) {
        let help = "From a frame until the broker's PUBACK for its verdict, over the newest 1000";
        self.family::<Gauge<f64, AtomicU64>>("delivery_seconds", help, |reading, family| {
            let Some(delivery) = reading.status.delivery else { return };
            for (quantile, ms) in [("0.5", delivery.p50_ms), ("0.99", delivery.p99_ms)] {
                family.get_or_create(&labels(reading, Some(("quantile", quantile)))).set(ms / 1e3);
            }
        });
    }

    fn clock_steps(&mut self) {
        self.family::<Counter>("clock_steps", "Jumps of the clock", |reading, family| {
            family.get_or_create(&labels(reading, None)).inc_by(reading.status.clock.steps);
        });
    }

    /// Registers a family. A family without numbers is left out of the text.
    fn family<M>(&mut self, name: &str, help: &str, fill: impl Fn(&Reading, &Family<Labels, M>))
    where
        M: Default + EncodeMetric + TypedMetric + Send + Sync + std::fmt::Debug + 'static,
    {
        let family = Family::<Labels, M>::default();
        for reading in self.readings {
            fill(reading, &family);
        }
        self.registry.register(name, help, family);
    }
}

fn labels(reading: &Reading, label: Option<(&'static str, &str)>) -> Labels {
    let own = label.map(|(name, value)| (name, value.to_owned()));
    std::iter::once(("station", reading.station.to_string())).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::status::testing::idle_station;
    use crate::status::{DeliveryTime, VerdictCounts};

    fn reading(station: &str, normal: u64, delivery: Option<DeliveryTime>) -> Reading {
        let verdicts = VerdictCounts { normal, ..VerdictCounts::default() };
        let status = Arc::new(Status { verdicts, delivery, ..idle_station() });
        Reading { station: station.into(), status, backlog: None }
    }

    #[test]
    fn two_stations_share_each_metric_and_keep_their_numbers_apart() {
        let delivery = DeliveryTime { verdicts: 1, p50_ms: 1500.0, p99_ms: 2500.0 };
        let text =
            text(&[reading("left", 3, Some(delivery)), reading("right", 5, None)], Timestamp::UNIX_EPOCH);
        for line in [
            r#"certiscope_verdicts_total{station="left",verdict="normal"} 3"#,
            r#"certiscope_verdicts_total{station="right",verdict="normal"} 5"#,
            r#"certiscope_delivery_seconds{station="left",quantile="0.5"} 1.5"#,
            r#"certiscope_disk_free_bytes{station="right"} 1073741824"#,
            r#"certiscope_deleted_rows_total{station="left",by="disk_space"} 0"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"delivery_seconds{station="right""#), "{text}");
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(types.len(), types.iter().collect::<BTreeSet<_>>().len(), "a name comes twice: {types:?}");
        assert!(
            !text.contains("outbox") && !text.contains("triggers"),
            "what nobody knows has no line: {text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
