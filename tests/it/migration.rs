//! A log of schema version 2 after the migration: every message is sent byte for byte as version 2 would have sent it.
//!
//! The fixtures were made with the code of version 2 (commit 7f0ca78). `store_version_2.db` has 18 inspections of two starts at
//! two stations; 14 of them are in the outbox, and 3 of those were refused. `store_version_2.jsonl` has the messages that
//! version 2 makes of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certiscope::testing::publish::json_output::{JSON, Timeliness, encode, message};
use certiscope::testing::store::{Filter, Log, Order, RowId, Store, StoreError};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::proxy::{Mode, Proxy};
use crate::support::station::{Station, broker_at, timing};
use crate::support::subscriber::Subscriber;
use crate::support::wait_until;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of the log of version 2.
fn log_of_version_2(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("log.sqlite");
    std::fs::copy(fixture("store_version_2.db"), &path).unwrap();
    path
}

/// The messages that version 2 makes of its log for `purpose`, of one station or of all, in order.
fn payloads_of_version_2(what: &str, station: Option<&str>) -> Vec<String> {
    std::fs::read_to_string(fixture("store_version_2.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["what"] == what && station.is_none_or(|station| line["station"] == station))
        .map(|line| line["payload"].as_str().unwrap().to_owned())
        .collect()
}

fn sent(stored: Vec<u8>, timeliness: Timeliness) -> String {
    String::from_utf8(message(stored, timeliness)).unwrap()
}

/// Compares the messages of inspections, live and historical, with those of version 2.
#[test]
fn an_inspection_is_encoded_as_version_2_did() {
    let folder = TempDir::new().unwrap();
    let path = log_of_version_2(&folder);
    drop(Store::open(&path).unwrap());
    let log = Log::open(&path).unwrap();
    let records: Vec<_> =
        log.records(Filter::default(), Order::OldestFirst).collect::<Result<_, _>>().unwrap();
    let encoded = |timeliness| -> Vec<String> {
        records
            .iter()
            .map(|record| {
                let mut messages = encode(record.boot_id, record.seq, &record.inspection);
                assert_eq!((messages.len(), messages[0].0), (1, JSON));
                sent(messages.remove(0).1, timeliness)
            })
            .collect()
    };
    assert_eq!(records.len(), 18);
    assert_eq!(encoded(Timeliness::Live), payloads_of_version_2("committed", None));
    assert_eq!(encoded(Timeliness::Historical), payloads_of_version_2("exported", None));
}

#[test]
fn the_backlog_of_version_2_is_the_same_after_the_migration() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&log_of_version_2(&folder)).unwrap();
    for (station, depth, refused, refusal) in
        [("a", 11, 2, "not authorised"), ("b", 3, 1, "unspecified error")]
    {
        let backlog = store.backlog(station, JSON).unwrap();
        assert_eq!(
            (backlog.depth, backlog.refused, backlog.refusal.as_deref()),
            (depth, refused, Some(refusal))
        );
        let waiting = |timeliness| -> Vec<String> {
            let rows = store.outbox_between(station, JSON, RowId::START, RowId::END, 99).unwrap();
            rows.into_iter().map(|row| sent(row.payload, timeliness)).collect()
        };
        assert_eq!(waiting(Timeliness::Live), payloads_of_version_2("live", Some(station)));
        assert_eq!(waiting(Timeliness::Historical), payloads_of_version_2("backlog", Some(station)));
        let refused = store.longest_refused(station, JSON).unwrap().unwrap();
        let refused = sent(refused.payload, Timeliness::Historical);
        assert_eq!([refused], *payloads_of_version_2("refused", Some(station)));
        let newest = store.newest_message(station, JSON).unwrap();
        let newest: Vec<String> = newest.map(|row| sent(row.payload, Timeliness::Live)).into_iter().collect();
        assert_eq!(newest, payloads_of_version_2("newest", Some(station)));
    }
}

/// Sends a migrated log with the real pump over a real broker, and compares the bytes that a reader receives.
#[test]
fn the_backlog_of_version_2_reaches_the_line_byte_by_byte() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    log_of_version_2(&folder);
    let reader = Subscriber::at(broker.port);
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Open);
    let station = Station::start_named("a", folder.path(), broker_at(proxy.port, None), timing());
    let waiting = payloads_of_version_2("backlog", Some("a"));
    let heard = || -> Vec<String> {
        let heard = reader.heard("verdict").into_iter();
        heard.map(|heard| String::from_utf8(heard.payload).unwrap()).collect()
    };
    // The refused ones come later, when they are sent again.
    wait_until("the backlog and the refused rows have come", || heard().len() >= waiting.len() + 2);
    assert_eq!(heard()[..waiting.len()], waiting, "in order, before the refused ones");
    assert_eq!(heard()[waiting.len()], payloads_of_version_2("refused", Some("a"))[0]);
    let exported: BTreeSet<String> = payloads_of_version_2("exported", None).into_iter().collect();
    assert!(heard().iter().all(|payload| exported.contains(payload)));
    station.wait_outbox_empty();
    let last = reader.heard("last");
    let last: Vec<&[u8]> = last.iter().map(|heard| &*heard.payload).collect();
    assert_eq!(last, [payloads_of_version_2("newest_historical", Some("a"))[0].as_bytes()]);
    station.stop();
}

/// The whole content of a log, with the definitions of its tables.
fn content(path: &Path) -> Vec<String> {
    let sql = Connection::open(path).unwrap();
    let rows = |query: &str| -> Vec<String> {
        let mut statement = sql.prepare(query).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            Ok((0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect::<Vec<_>>().join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    [
        "PRAGMA user_version",
        "SELECT type, name, sql FROM sqlite_schema ORDER BY name",
        "SELECT * FROM inspection ORDER BY id",
        "SELECT * FROM outbox ORDER BY inspection_id",
        "SELECT * FROM boot ORDER BY boot_id, station",
        "SELECT * FROM parameters ORDER BY id",
    ]
    .into_iter()
    .flat_map(rows)
    .collect()
}

/// The last statement of a migration fails: everything before it is undone. Once the cause is removed, the migration works.
#[test]
fn a_migration_that_is_interrupted_leaves_the_log_of_version_2() {
    let folder = TempDir::new().unwrap();
    let path = log_of_version_2(&folder);
    let planted = "CREATE TABLE planted (x); DROP INDEX outbox_by_refusal;
                   CREATE INDEX outbox_by_refusal ON planted (x);";
    Connection::open(&path).unwrap().execute_batch(planted).unwrap();
    let before = content(&path);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Sql { why, .. } if why.contains("outbox_by_refusal")), "{error}");
    assert_eq!(content(&path), before);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE planted").unwrap();
    assert_eq!(Store::open(&path).unwrap().backlog("a", JSON).unwrap().depth, 11);
    let known: u32 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(known, 3);
}
