//! Connections that break in every way, and brokers that are killed: no verdict is lost, with both versions of MQTT.

use std::collections::BTreeSet;
use std::time::Duration;

use certiscope::testing::publish::{BrokerFault, Timing};
use tempfile::TempDir;

use super::{exactly_once, historical, unacknowledged};
use crate::support::broker::Broker;
use crate::support::proxy::{Mode, Proxy};
use crate::support::station::{PROTOCOLS, Station, broker_in, timing};
use crate::support::subscriber::{Key, Subscriber, key};
use crate::support::wait_until;

#[test]
fn a_broker_killed_in_mid_stream_loses_only_what_it_had_acknowledged() {
    for protocol in PROTOCOLS {
        let (mut broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
        station.wait_connected();
        let mut keys = std::thread::scope(|scope| {
            let inspecting = scope.spawn(|| station.inspect(300));
            wait_until("verdicts flow", || reader.heard("verdict").len() > 50);
            broker.kill();
            proxy.set(Mode::Closed);
            inspecting.join().unwrap()
        });
        station.wait_disconnected(|_| true);
        keys.extend(station.inspect(20));
        let owed = unacknowledged(&folder);
        assert!(owed.len() >= 20, "only {} rows waited", owed.len());
        broker.come_up();
        reader.wait_subscribed(2); // before the station may: what comes now, the reader sees
        proxy.set(Mode::Open);
        station.wait_outbox_empty();
        reader.wait_verdicts(&owed);
        station.stop();
        let verdicts = reader.verdicts();
        let known: BTreeSet<&Key> = keys.iter().collect();
        assert!(verdicts.keys().all(|key| known.contains(key)), "a key that was never committed");
        let missing: Vec<_> = keys.iter().filter(|key| !verdicts.contains_key(*key)).collect();
        assert!(
            missing.iter().all(|key| !owed.contains(key)),
            "lost, though the broker had not acknowledged them: {missing:?}"
        );
        for heard in reader.heard("verdict") {
            if owed.contains(&key(&heard.message)) && verdicts[&key(&heard.message)] == 1 {
                assert!(historical(&heard), "came after the outage: {}", heard.message);
            }
        }
    }
}

#[test]
fn a_link_cut_again_and_again_loses_nothing() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
        let mut keys = Vec::new();
        for _ in 0..10 {
            station.wait_connected();
            let heard = reader.heard("verdict").len();
            keys.extend(station.inspect(30));
            wait_until("verdicts flow", || reader.heard("verdict").len() > heard);
            proxy.cut();
        }
        reader.wait_verdicts(&keys);
        station.wait_outbox_empty();
        station.stop();
        assert_eq!(reader.verdicts().into_keys().collect::<BTreeSet<_>>(), keys.into_iter().collect());
    }
}

#[test]
fn a_link_without_answers_is_ended_and_its_verdicts_are_sent_again_as_historical() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
        station.wait_connected();
        proxy.set(Mode::Deaf);
        let keys = station.inspect(4);
        station.wait_disconnected(|fault| matches!(fault, BrokerFault::NoAnswer(_)));
        assert_eq!(station.backlog().depth, 4, "without a PUBACK nothing leaves the outbox");
        proxy.set(Mode::Open);
        station.wait_outbox_empty();
        wait_until("each came twice", || reader.verdicts().values().all(|times| *times == 2));
        station.stop();
        assert_eq!(reader.verdicts().into_keys().collect::<Vec<_>>(), keys);
        let heard = reader.heard("verdict");
        let (first, again) = heard.split_at(4);
        assert!(!first.iter().any(historical) && again.iter().all(historical));
    }
}

#[test]
fn a_broker_that_never_answers_is_a_state_with_a_reason() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        proxy.set(Mode::Silent);
        let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
        let keys = station.inspect(20);
        station.wait_disconnected(|fault| matches!(fault, BrokerFault::NoAnswer(_)));
        proxy.set(Mode::Open);
        reader.wait_verdicts(&keys);
        station.stop();
        assert_eq!(reader.verdicts(), exactly_once(&keys));
    }
}

/// The other side sends neither FIN nor an answer: only the missing PUBACK shows that the link is broken.
#[test]
fn a_half_open_link_is_ended_and_nothing_is_lost() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
        station.wait_connected();
        let mut keys = station.inspect(10);
        station.wait_outbox_empty();
        proxy.set(Mode::Silent);
        keys.extend(station.inspect(30));
        station.wait_disconnected(|fault| matches!(fault, BrokerFault::NoAnswer(_)));
        assert_eq!(station.backlog().depth, 30);
        proxy.set(Mode::Open);
        reader.wait_verdicts(&keys);
        station.stop();
        assert_eq!(reader.verdicts(), exactly_once(&keys));
    }
}

/// rumqttc would wait for ever when it reuses the packet id of a message without PUBACK (its issues 1014, 1056).
#[test]
fn a_message_that_is_never_acknowledged_stops_no_other() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::start(), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let proxy = Proxy::before(broker.port);
        // The limit for PUBACKs would end the connection too. It is long here, so that only the packet ids do.
        let patient = Timing { acknowledge_limit: Duration::from_secs(600), ..timing() };
        let mut station = Station::start_with(folder.path(), broker_in(protocol, proxy.port), patient);
        station.wait_connected();
        proxy.swallow_an_acknowledgement();
        let keys = station.inspect(200);
        reader.wait_verdicts(&keys);
        station.wait_outbox_empty();
        assert!(proxy.has_swallowed());
        assert_eq!(proxy.connections(), 2, "left once, and once is enough");
        station.stop();
        let verdicts = reader.verdicts();
        assert_eq!(verdicts.keys().collect::<BTreeSet<_>>(), keys.iter().collect());
        assert!(verdicts[&keys[0]] == 2, "the one without PUBACK was sent again");
    }
}
