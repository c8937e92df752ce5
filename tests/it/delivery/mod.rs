//! From the store to a reader on the line, over a real mosquitto that is killed, absent, unresponsive or strict.

mod lanes;
mod links;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certiscope::testing::publish::{
    BrokerFault, BrokerSettings, Connection, ProbeRequest, Timing, Topics, probe,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::{Broker, PASSWORD, USER};
use crate::support::proxy::{Mode, Proxy};
use crate::support::station::{Station, broker_at, timing};
use crate::support::subscriber::{Heard, Key, Subscriber, key, verdict_schema};
use crate::support::wait_until;

/// Expects each key exactly once, and nothing else.
fn exactly_once(keys: &[Key]) -> BTreeMap<Key, usize> {
    keys.iter().map(|key| (key.clone(), 1)).collect()
}

fn historical(heard: &Heard) -> bool {
    heard.message["historical"].as_bool().expect("a verdict says whether it is late")
}

#[test]
fn three_hundred_verdicts_arrive_once_each_and_in_order() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_at(broker.port, None));
    station.wait_connected();
    let keys = station.inspect(300);
    reader.wait_verdicts(&keys);
    station.wait_outbox_empty();
    assert_eq!(station.stop().unwrap().verdicts, 300);
    assert_eq!(keys.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    assert_eq!(reader.verdicts(), exactly_once(&keys));
    let heard = reader.heard("verdict");
    assert_eq!(
        heard.iter().map(|heard| key(&heard.message)).collect::<Vec<_>>(),
        keys,
        "order of commitment"
    );
    assert!(!heard.iter().any(historical), "nothing was late");
}

#[test]
fn a_broker_that_comes_later_gets_everything_flagged_historical() {
    let (mut broker, folder) = (Broker::absent(), TempDir::new().unwrap());
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Closed);
    let mut station = Station::start(folder.path(), broker_at(proxy.port, None));
    station.wait_disconnected(|_| true);
    let mut keys = station.inspect(40); // inspection goes on
    assert_eq!(station.backlog().depth, 40);
    broker.come_up();
    let reader = Subscriber::at(broker.port);
    proxy.set(Mode::Open);
    reader.wait_verdicts(&keys);
    assert!(reader.heard("verdict").iter().all(historical));
    keys.extend(station.inspect(5));
    reader.wait_verdicts(&keys);
    assert_eq!(station.stop().unwrap().verdicts, 5, "only what was sent as it came is timed");
    assert_eq!(reader.verdicts(), exactly_once(&keys));
    assert!(
        !reader.heard("verdict")[40..].iter().any(historical),
        "what came after the connection is not late"
    );
}

#[test]
fn no_broker_is_a_state_with_a_reason() {
    let (broker, folder) = (Broker::absent(), TempDir::new().unwrap());
    let mut station = Station::start(folder.path(), broker_at(broker.port, None));
    station.wait_disconnected(|fault| matches!(fault, BrokerFault::Unreachable(_)));
    station.inspect(3);
    let asked = Instant::now();
    station.stop(); // nothing to drain into: leaves at once, and keeps the rows
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    let broker = Broker::start();
    let reader = Subscriber::at(broker.port);
    let station = Station::start(folder.path(), broker_at(broker.port, None));
    wait_until("the rows of the earlier boot came", || reader.verdicts().len() == 3);
    station.stop();
}

#[test]
fn a_refused_station_reports_it_and_continues_inspecting() {
    let (broker, folder) = (Broker::with_password(), TempDir::new().unwrap());
    let wrong = broker_at(broker.port, Some((USER, "guessed")));
    let mut station = Station::start(folder.path(), wrong);
    station.wait_disconnected(|fault| matches!(fault, BrokerFault::Refused(_)));
    let Connection::Disconnected { reason, .. } = station.connection() else {
        panic!("refused, yet connected")
    };
    assert!(!reason.to_string().contains("guessed"), "a password is in: {reason}");
    station.inspect(10);
    assert_eq!(station.backlog().depth, 10);
    station.stop();
    let station = Station::start(folder.path(), broker_at(broker.port, Some((USER, PASSWORD))));
    station.wait_outbox_empty();
    station.stop();
}

#[test]
fn probe_distinguishes_a_refusal_from_a_broker_that_is_not_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let limit = Duration::from_secs(1);
    let mut broker = Broker::with_password();
    let topics = Topics::new("certiscope", "site", "line", "st1").unwrap();
    let ask = |broker: &BrokerSettings| {
        let asked = ProbeRequest { broker, topics: &topics, triggered: true, take_over: false, limit };
        runtime.block_on(probe(asked))
    };
    let asked = |credentials| ask(&broker_at(broker.port, credentials));
    let allowed = asked(Some((USER, PASSWORD))).unwrap();
    assert_eq!((allowed.wrong.len(), allowed.unknown.len()), (0, 0), "{allowed:?}");
    assert!(matches!(asked(Some((USER, "guessed"))).unwrap_err().fault, BrokerFault::Refused(_)));
    assert!(matches!(asked(None).unwrap_err().fault, BrokerFault::Refused(_)));
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Silent);
    let silent = ask(&broker_at(proxy.port, None)).unwrap_err();
    assert!(matches!(silent.fault, BrokerFault::NoAnswer(_)), "{silent}");
    let port = broker.port;
    broker.kill();
    let gone = ask(&broker_at(port, None)).unwrap_err();
    assert!(matches!(gone.fault, BrokerFault::Unreachable(_)), "{gone}");
}

#[test]
fn the_will_is_sent_after_a_cut_and_not_after_an_orderly_end() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let proxy = Proxy::before(broker.port);
    let station = Station::start(folder.path(), broker_at(proxy.port, None));
    station.wait_connected();
    let online = kept(&broker, "status", |message| message["state"] == "online");
    assert_eq!(online["boot_id"], station.origin.boot_id.to_string());
    assert_eq!(online["provider"], json!({"requested": "cuda", "active": "cpu", "fallback": "no GPU"}));
    assert_eq!(online["outbox"]["depth"], 0);
    assert!(online["since"].is_string());

    proxy.set(Mode::Closed);
    let offline = kept(&broker, "status", |message| message["state"] == "offline");
    assert_eq!(offline["since"], Value::Null, "the time cannot be known beforehand");
    assert_eq!(keys_of(&offline), keys_of(&online));

    proxy.set(Mode::Open);
    kept(&broker, "status", |message| message["state"] == "online");
    station.stop();
    let first_after = Subscriber::at(broker.port).wait_heard("status", "a status is kept", |_| true);
    assert_eq!((first_after.retained, &first_after.message["state"]), (true, &json!("stopped")));
}

#[test]
fn a_crash_is_reported_by_the_will() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let station = Station::start(folder.path(), broker_at(broker.port, None));
    kept(&broker, "status", |message| message["state"] == "online");
    station.crash();
    kept(&broker, "status", |message| message["state"] == "offline");
}

#[test]
fn a_changed_status_is_sent_again_and_heartbeats_are_sent() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let station = Station::start(folder.path(), broker_at(broker.port, None));
    reader.wait_heard("status", "online is said", |heard| heard.message["drops"]["newer_frame"] == 0);
    station.status.send_modify(|status| Arc::make_mut(status).drops.newer_frame = 7);
    reader.wait_heard("status", "the change is said", |heard| heard.message["drops"]["newer_frame"] == 7);
    wait_until("the heart beats", || reader.heard("heartbeat").len() >= 3);
    let beats: Vec<_> =
        reader.heard("heartbeat").iter().map(|heard| heard.message["count"].as_u64().unwrap()).collect();
    assert_eq!(beats, (1..=beats.len() as u64).collect::<Vec<_>>());
    assert_eq!(reader.heard("status").len(), 2, "an unchanged status is not said again");
    station.stop();
}

#[test]
fn last_is_the_newest_verdict_and_never_the_backlog() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Closed);
    let mut station = Station::start(folder.path(), broker_at(proxy.port, None));
    station.inspect(50);
    let reader = Subscriber::at(broker.port);
    proxy.set(Mode::Open);
    station.wait_outbox_empty();
    let seqs = || reader.heard("last").iter().map(|heard| key(&heard.message).1).collect::<Vec<_>>();
    wait_until("last is said", || !seqs().is_empty());
    assert_eq!(seqs(), [50], "only the newest of the backlog");
    station.inspect(1);
    wait_until("the live verdict is last", || seqs() == [50, 51]);
    let kept = kept(&broker, "last", |message| key(message).1 == 51);
    verdict_schema().validate(&kept).unwrap();
    station.stop();
}

#[test]
fn an_earlier_boot_is_delivered_by_the_next_one() {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start();
    let absent = Broker::absent();
    let mut station = Station::start(folder.path(), broker_at(absent.port, None));
    let mut keys = station.inspect(25);
    station.crash();
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_at(broker.port, None));
    keys.extend(station.inspect(5));
    reader.wait_verdicts(&keys);
    station.wait_outbox_empty();
    station.stop();
    assert_eq!(reader.verdicts(), exactly_once(&keys));
    let heard = reader.heard("verdict");
    let earlier = |heard: &&Heard| keys[..25].contains(&key(&heard.message));
    assert!(heard.iter().filter(earlier).all(historical), "an earlier boot's rows are late");
    assert_eq!(keys[25].1, 1, "each boot counts from 1");
}

#[test]
fn stopping_drains_first() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_at(broker.port, None));
    station.wait_connected();
    let keys = station.inspect(150);
    station.stop();
    reader.wait_verdicts(&keys);
    assert_eq!(unacknowledged(&folder), []);
    let last = reader.wait_heard("status", "stopped is sent", |heard| heard.message["state"] == "stopped");
    assert_eq!(last.message["outbox"]["depth"], 0);
    // A broker that gets no DISCONNECT sends the will at the end of the connection.
    std::thread::sleep(Duration::from_millis(500));
    let states: Vec<Value> =
        reader.heard("status").iter().map(|heard| heard.message["state"].clone()).collect();
    assert_eq!(states.last(), Some(&json!("stopped")), "the will speaks after the farewell: {states:?}");
}

/// The agent stops while its disk hangs: it sends `stopped` and disconnects nevertheless.
#[test]
fn a_store_that_does_not_answer_does_not_delay_the_end() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let drain_limit = Duration::from_secs(1);
    let mut station =
        Station::start_with(folder.path(), broker_at(broker.port, None), Timing { drain_limit, ..timing() });
    station.wait_connected();
    let keys = station.inspect(3);
    reader.wait_verdicts(&keys);
    let hanging = station.hang_store();
    let asked = Instant::now();
    assert!(station.shut_down_within(Duration::from_secs(15)), "the pump still waits for the store");
    let took = asked.elapsed();
    assert!(took < drain_limit + Duration::from_secs(6), "took {took:?}");
    reader.wait_heard("status", "stopped is sent", |heard| heard.message["state"] == "stopped");
    drop(hanging);
    station.crash();
}

/// If a stop follows right after a commit, the pump may see the stop before it sees the commit.
#[test]
fn the_last_verdict_before_a_stop_is_delivered() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    for _ in 0..25 {
        let mut station = Station::start(folder.path(), broker_at(broker.port, None));
        station.wait_connected();
        station.inspect(1);
        station.stop();
        assert_eq!(unacknowledged(&folder), []);
    }
}

#[test]
fn the_schema_refuses_what_contradicts_the_contract() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_at(broker.port, None));
    let keys = station.inspect(4);
    reader.wait_verdicts(&keys);
    station.stop();
    let schema = verdict_schema();
    let normal = reader.wait_heard("verdict", "a normal one", |heard| heard.message["pass"] == 1).message;
    assert!(schema.is_valid(&normal));
    let broken: [(&str, Value); 9] = [
        ("seq", json!(0)),
        ("seq", json!("1")),
        ("boot_id", json!("not a uuid")),
        ("captured_at", json!("2026-11-22 10:00")),
        ("captured_at", json!("2026-11-22T10:00:00+01:00")),
        ("pass", json!(0)),
        ("reason", json!("deadline")),
        ("radius", Value::Null),
        ("unknown", json!(1)),
    ];
    for (field, value) in broken {
        let mut message = normal.clone();
        message[field] = value;
        assert!(!schema.is_valid(&message), "accepted {field} = {}", message[field]);
    }
    for field in keys_of(&normal) {
        let mut message = normal.clone();
        message.as_object_mut().unwrap().remove(&field);
        assert!(!schema.is_valid(&message), "accepted without {field}");
    }
}

/// The retained message of this topic, once it is the `wanted` one. Each read subscribes anew, like a PLC after a reboot.
pub(crate) fn kept(broker: &Broker, leaf: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = None;
    wait_until("the broker keeps the right message", || {
        let newcomer = Subscriber::at(broker.port);
        let first = newcomer.wait_heard(leaf, "a message is kept", |_| true);
        found = first.retained.then_some(first.message).filter(&wanted); // else it was published just now: read again
        found.is_some()
    });
    found.expect("waited for")
}

fn keys_of(message: &Value) -> Vec<String> {
    message.as_object().unwrap().keys().cloned().collect()
}

/// The verdicts in the outbox, read directly from the file.
fn unacknowledged(folder: &TempDir) -> Vec<Key> {
    let connection = rusqlite::Connection::open(folder.path().join("log.sqlite")).unwrap();
    connection
        .prepare("SELECT boot_id, seq FROM inspection JOIN outbox ON inspection_id = id ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?.into())))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
