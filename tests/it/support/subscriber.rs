//! An MQTT subscriber that receives everything and keeps a log, across restarts of the broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use serde_json::Value;

use super::wait_until;

/// Large messages to a station come to its reader too.
const LARGEST: usize = 1 << 24;

pub(crate) struct Subscriber {
    client: Client,
    log: Arc<Mutex<Vec<Heard>>>,
    subscriptions: Arc<AtomicUsize>,
    leaving: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The last level of the topic.
    pub(crate) leaf: String,
    /// Whether the broker had kept the message from before the subscription.
    pub(crate) retained: bool,
    pub(crate) message: Value,
    /// The bytes as they arrived.
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Instant,
}

/// Identifies a verdict: boot and sequence number.
pub(crate) type Key = (String, u64);

impl Subscriber {
    /// Subscribes at the broker on `port`; returns once the broker has confirmed it.
    pub(crate) fn at(port: u16) -> Self {
        let mut options = MqttOptions::new(format!("reader-{}", uuid::Uuid::new_v4()), "127.0.0.1", port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(LARGEST, LARGEST);
        let (client, mut connection) = Client::new(options, 16);
        let subscriber = Self {
            client: client.clone(),
            log: Arc::default(),
            subscriptions: Arc::default(),
            leaving: Arc::default(),
        };
        let log = Arc::clone(&subscriber.log);
        let subscriptions = Arc::clone(&subscriber.subscriptions);
        let leaving = Arc::clone(&subscriber.leaving);
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        client.try_subscribe("#", QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        subscriptions.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => log.lock().unwrap().push(Heard {
                        leaf: publish.topic.rsplit('/').next().unwrap().to_owned(),
                        retained: publish.retain,
                        message: content(&publish),
                        payload: publish.payload.to_vec(),
                        at: Instant::now(),
                    }),
                    Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                    Err(_) if leaving.load(Ordering::SeqCst) => return,
                    Err(_) => thread::sleep(Duration::from_millis(10)), // the broker is away: try again
                    Ok(_) => {}
                }
            }
        });
        subscriber.wait_subscribed(1);
        subscriber
    }

    /// Waits until the subscription has been confirmed for the `times`-th time.
    pub(crate) fn wait_subscribed(&self, times: usize) {
        wait_until("the reader is subscribed", || self.subscribed() >= times);
    }

    /// How often the subscription has been confirmed.
    pub(crate) fn subscribed(&self) -> usize {
        self.subscriptions.load(Ordering::SeqCst)
    }

    /// Publishes a message to the station, as a PLC does.
    pub(crate) fn say(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }

    pub(crate) fn log(&self) -> Vec<Heard> {
        self.log.lock().unwrap().clone()
    }

    /// Messages of one leaf, in order.
    pub(crate) fn heard(&self, leaf: &str) -> Vec<Heard> {
        self.log().into_iter().filter(|heard| heard.leaf == leaf).collect()
    }

    /// Every verdict received, and how often. Each is checked against the schema.
    pub(crate) fn verdicts(&self) -> BTreeMap<Key, usize> {
        let schema = verdict_schema();
        let mut counted = BTreeMap::new();
        for heard in self.heard("verdict") {
            assert!(!heard.retained, "a verdict must not be retained: {heard:?}");
            if let Err(error) = schema.validate(&heard.message) {
                panic!("{error}\nin {}", heard.message);
            }
            *counted.entry(key(&heard.message)).or_default() += 1;
        }
        counted
    }

    /// Waits until verdicts of all these keys came.
    pub(crate) fn wait_verdicts(&self, keys: &[Key]) {
        wait_until("every verdict has come", || {
            let heard = self.log.lock().unwrap().iter().filter(|heard| heard.leaf == "verdict").count();
            heard >= keys.len() && {
                let verdicts = self.verdicts();
                keys.iter().all(|key| verdicts.contains_key(key))
            }
        });
    }

    /// Waits until a message of this leaf passes the test.
    pub(crate) fn wait_heard(&self, leaf: &str, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let mut found = None;
        wait_until(what, || {
            found = self.heard(leaf).into_iter().find(|heard| wanted(heard));
            found.is_some()
        });
        found.expect("waited for")
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        let _ = self.client.try_disconnect(); // without a broker the thread sees `leaving`
    }
}

/// The JSON of a message. Every message of the station is JSON; a message to the station may be anything.
fn content(publish: &rumqttc::Publish) -> Value {
    match serde_json::from_slice(&publish.payload) {
        Err(error) if !publish.topic.ends_with("/cmd/trigger") => panic!("{}: {error}", publish.topic),
        content => content.unwrap_or_default(),
    }
}

pub(crate) fn key(message: &Value) -> Key {
    (message["boot_id"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap())
}

pub(crate) fn verdict_schema() -> jsonschema::Validator {
    schema(super::schemas::VERDICT_SCHEMA)
}

/// A validator for a committed schema; it checks formats too.
pub(crate) fn schema(text: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}
