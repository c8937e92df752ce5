//! A verdict that the broker refuses stays in the outbox, is reported, and delays no other.

use std::io::{Read, Write};
use std::net::TcpListener;

use certiscope::testing::publish::{BrokerFault, Protocol};
use tempfile::TempDir;

use super::{historical, unacknowledged};
use crate::support::broker::Broker;
use crate::support::proxy::{Mode, Proxy};
use crate::support::station::{PROTOCOLS, Station, broker_in};
use crate::support::subscriber::Subscriber;
use crate::support::wait_until;

const EVERYTHING: &str = "topic readwrite #\n";
const NO_VERDICTS: &str = "topic read #\ntopic write +/+/+/+/status\ntopic write +/+/+/+/last\n";

#[test]
fn a_refused_verdict_stays_and_is_sent_once_it_is_allowed() {
    let (broker, folder) = (Broker::with_access_list(NO_VERDICTS), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_in(Protocol::V5, broker.port));
    station.wait_connected();
    let keys = station.inspect(5);
    wait_until("the rows are refused", || station.backlog().refused == 5);
    assert_eq!(station.backlog().refusal.as_deref(), Some("not authorised"));
    let said = reader
        .wait_heard("status", "the refusal is reported", |heard| heard.message["outbox"]["refused"] == 5);
    assert_eq!(said.message["outbox"]["refusal"], "not authorised");
    assert_eq!(said.message["outbox"]["depth"], 5);
    assert_eq!(unacknowledged(&folder), keys);

    broker.change_access_list(EVERYTHING);
    station.wait_outbox_empty();
    reader.wait_verdicts(&keys);
    assert!(reader.heard("verdict").iter().all(historical), "what comes late is marked so");
    reader.wait_heard("status", "its end is reported", |heard| {
        heard.message["outbox"]["refused"] == 0 && heard.message["outbox"]["refusal"].is_null()
    });
    station.stop();
}

/// Rows that were refused in an earlier start are sent again in the next one.
#[test]
fn a_refusal_outlives_a_restart() {
    let (broker, folder) = (Broker::with_access_list(NO_VERDICTS), TempDir::new().unwrap());
    let mut station = Station::start(folder.path(), broker_in(Protocol::V5, broker.port));
    let keys = station.inspect(3);
    wait_until("the rows are refused", || station.backlog().refused == 3);
    station.crash();
    broker.change_access_list(EVERYTHING);
    let reader = Subscriber::at(broker.port);
    let station = Station::start(folder.path(), broker_in(Protocol::V5, broker.port));
    reader.wait_verdicts(&keys);
    station.wait_outbox_empty();
    station.stop();
}

/// MQTT 3.1.1 cannot express a refusal: the broker acknowledges the message and throws it away. Known and documented.
#[test]
fn with_mqtt_3_a_forbidden_verdict_is_acknowledged_and_gone() {
    let (broker, folder) = (Broker::with_access_list(NO_VERDICTS), TempDir::new().unwrap());
    let reader = Subscriber::at(broker.port);
    let mut station = Station::start(folder.path(), broker_in(Protocol::V3, broker.port));
    station.wait_connected();
    station.inspect(5);
    station.wait_outbox_empty();
    station.stop();
    assert_eq!(reader.heard("verdict").len(), 0);
}

/// A backlog with one message that is too large in the middle, made while the station is not connected. Then the same while it
/// is connected.
fn one_is_too_large(broker: &Broker, protocol: Protocol) -> (Station, TempDir, Proxy) {
    let folder = TempDir::new().unwrap();
    let reader = Subscriber::at(broker.port);
    let proxy = Proxy::before(broker.port);
    proxy.set(Mode::Closed);
    let mut station = Station::start(folder.path(), broker_in(protocol, proxy.port));
    let mut keys = station.inspect(20);
    let large = station.inspect_long_name(5000);
    keys.extend(station.inspect(40));
    proxy.set(Mode::Open);
    reader.wait_verdicts(&keys);
    wait_until("only the large one is left", || station.backlog().depth == 1);
    wait_until("it is known as refused", || station.backlog().refused == 1);
    assert_eq!(unacknowledged(&folder), std::slice::from_ref(&large));
    keys.extend(station.inspect(20));
    reader.wait_verdicts(&keys);
    wait_until("only the large one is left", || station.backlog().depth == 1);
    assert!(!reader.verdicts().contains_key(&large));
    (station, folder, proxy)
}

#[test]
fn a_verdict_larger_than_the_broker_says_is_held_back() {
    let broker = Broker::with("max_packet_size 3000");
    let (station, _folder, proxy) = one_is_too_large(&broker, Protocol::V5);
    let refusal = station.backlog().refusal.unwrap();
    assert!(refusal.ends_with("bytes: the broker allows at most 3000"), "{refusal}");
    assert_eq!(proxy.connections(), 1, "nothing was sent that would end the connection");
    station.stop();
}

/// MQTT 3.1.1 cannot express a refusal: the broker closes the connection, whatever else is in flight.
#[test]
fn a_verdict_that_ends_every_connection_is_found_and_stops_no_other() {
    let broker = Broker::with("max_packet_size 3000");
    let (station, _folder, _) = one_is_too_large(&broker, Protocol::V3);
    let refusal = station.backlog().refusal.unwrap();
    assert!(refusal.starts_with("when it was sent, the connection was closed"), "{refusal}");
    station.stop();
}

/// mosquitto answers with a reason code (0x95) that the protocol does not allow in a PUBACK, and rumqttc then ends the
/// connection.
#[test]
fn an_answer_that_cannot_be_read_is_found_in_the_same_way() {
    let broker = Broker::with("message_size_limit 3000");
    let (station, _folder, _) = one_is_too_large(&broker, Protocol::V5);
    let refusal = station.backlog().refusal.unwrap();
    assert!(refusal.contains("0x95 (packet too large)"), "{refusal}");
    station.stop();
}

#[test]
fn a_large_verdict_that_is_the_newest_is_not_shown_either() {
    for protocol in PROTOCOLS {
        let (broker, folder) = (Broker::with("max_packet_size 3000"), TempDir::new().unwrap());
        let reader = Subscriber::at(broker.port);
        let mut station = Station::start(folder.path(), broker_in(protocol, broker.port));
        let mut keys = station.inspect(3);
        station.inspect_long_name(5000);
        wait_until("it is known as refused", || station.backlog().refused == 1);
        keys.extend(station.inspect(1));
        reader.wait_verdicts(&keys);
        reader.wait_heard("last", "the next one is shown", |heard| heard.message["seq"] == 5);
        station.stop();
    }
}

/// An old broker: it answers a CONNECT of a version that it does not know with return code 1.
#[test]
fn a_broker_that_only_speaks_mqtt_3_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(&[0x20, 0x02, 0x00, 0x01]);
        }
    });
    let folder = TempDir::new().unwrap();
    let station = Station::start(folder.path(), broker_in(Protocol::V5, port));
    station.wait_disconnected(|fault| {
        matches!(fault, BrokerFault::NotAccepted(_) | BrokerFault::OlderProtocol)
            && fault.to_string().contains("broker.protocol = \"3.1.1\"")
    });
    station.stop();
}
