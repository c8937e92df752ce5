//! Live verdicts are sent first, and the backlog keeps to its rate.

use std::time::Duration;

use certiscope::testing::publish::{BrokerSettings, Protocol, Timing};
use tempfile::TempDir;

use super::{exactly_once, historical, unacknowledged};
use crate::support::broker::Broker;
use crate::support::proxy::{Mode, Proxy};
use crate::support::station::{Station, broker_in, timing};
use crate::support::subscriber::{Heard, Key, Subscriber, key};

const BACKLOG: u64 = 300;
const PER_SECOND: u32 = 100;

/// What a reader receives after an outage during which [`BACKLOG`] verdicts were made, and one more as soon as the station is
/// connected again.
fn after_an_outage(protocol: Protocol) -> (Vec<Key>, Vec<Heard>) {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Closed);
    let settings = BrokerSettings { backlog_per_second: PER_SECOND, ..broker_in(protocol, proxy.port) };
    let mut station = Station::start(folder.path(), settings);
    let mut keys = station.inspect(BACKLOG);
    proxy.set(Mode::Open);
    station.wait_connected();
    keys.extend(station.inspect(1));
    station.wait_outbox_empty();
    reader.wait_verdicts(&keys);
    station.stop();
    assert_eq!(reader.verdicts(), exactly_once(&keys));
    (keys, reader.heard("verdict"))
}

fn lanes_are_kept(protocol: Protocol) {
    let (keys, heard) = after_an_outage(protocol);
    let live = heard.iter().position(|heard| !historical(heard)).expect("the last one is live");
    assert_eq!(key(&heard[live].message), keys[keys.len() - 1]);
    assert!(live < 30, "{live} of the backlog went before the live verdict");

    let late: Vec<&Heard> = heard.iter().filter(|heard| historical(heard)).collect();
    let order: Vec<Key> = late.iter().map(|heard| key(&heard.message)).collect();
    assert_eq!(order, keys[..keys.len() - 1], "the backlog goes in order of commitment");
    let took = late[late.len() - 1].at - late[0].at;
    let meant = Duration::from_secs(BACKLOG / u64::from(PER_SECOND));
    assert!(took >= meant.mul_f64(0.8), "the backlog took {took:?}, {meant:?} were meant");
    assert!(took <= meant * 3, "the backlog took {took:?}, {meant:?} were meant");
}

#[test]
fn live_verdicts_go_before_the_backlog_with_mqtt_5() {
    lanes_are_kept(Protocol::V5);
}

#[test]
fn live_verdicts_go_before_the_backlog_with_mqtt_3() {
    lanes_are_kept(Protocol::V3);
}

/// A broker that allows two unacknowledged messages (Receive Maximum) would end the connection because of a third.
#[test]
fn no_more_is_in_flight_than_the_broker_takes() {
    let (broker, folder) = (Broker::with("max_inflight_messages 2"), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let proxy = Proxy::before(broker.port);
    let mut station = Station::start(folder.path(), broker_in(Protocol::V5, proxy.port));
    station.wait_connected();
    let keys = station.inspect(100);
    reader.wait_verdicts(&keys);
    station.stop();
    assert_eq!((reader.verdicts(), proxy.connections()), (exactly_once(&keys), 1));
}

/// A station that stops does not wait until its whole backlog is sent. The rest is sent after the next start.
#[test]
fn a_stop_drains_no_faster_than_the_rate() {
    let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Closed);
    let settings = BrokerSettings { backlog_per_second: 1, ..broker_in(Protocol::V5, proxy.port) };
    let timing = Timing { drain_limit: Duration::from_secs(1), ..timing() };
    let mut station = Station::start_with(folder.path(), settings, timing);
    station.inspect(50);
    proxy.set(Mode::Open);
    station.wait_connected();
    let live = station.inspect(5);
    let reader = Subscriber::at(broker.port);
    station.stop();
    let left = unacknowledged(&folder);
    assert!((40..50).contains(&left.len()), "{} rows are left", left.len());
    assert!(live.iter().all(|key| !left.contains(key)), "a live verdict was left");
    let station = Station::start(folder.path(), broker_in(Protocol::V5, broker.port));
    station.wait_outbox_empty();
    reader.wait_verdicts(&left);
    station.stop();
}
