//! What the line is told, and what it asks: MQTT, and the only module that knows rumqttc.
//!
//! `wire` words the messages, `commands` reads those of the line, `topics` names their places, `link` is one connection on which every answer finds
//! its message, `session` decides what is sent when on it, `pace` and `refusal` hold the rules for what is late
//! and for what is not taken, `delivery` how long verdicts took, `pump` makes one session after another.
//! Guarantees: only what is committed is published; a row leaves the outbox on its PUBACK and in no other
//! way (with MQTT 5 a PUBACK that refuses is none: the row waits behind the others, visibly); live verdicts go
//! before the backlog; nothing here makes the inspection wait, whatever the broker does, and what it does is
//! visible as [`Connection`]. Delivery is at least once: (boot_id, seq) makes it exactly once for a reader.
//! Leaves out: TLS, and refusals that MQTT 3.1.1 cannot express: with it, a broker whose access list forbids a topic
//! acknowledges the message and throws it away (mosquitto does; it does the same with a message above its
//! `message_size_limit`). Use MQTT 5 where an access list stands.

mod commands;
mod delivery;
mod lane;
mod link;
mod pace;
mod pump;
mod refusal;
mod session;
mod topics;
pub mod wire;

use jiff::Timestamp;

pub use commands::Commands;
pub use delivery::DeliveryTimes;
pub use link::probe;
pub use pump::{Pump, Timing};
pub use topics::{BadLevel, Topics};

/// How to reach the broker, and how much to send it.
#[derive(Clone)]
pub struct BrokerSettings {
    pub protocol: Protocol,
    pub host: String,
    pub port: u16,
    pub credentials: Option<Credentials>,
    /// Distinct for each station: a broker ends the older of two connections with one id.
    pub client_id: String,
    pub keep_alive_secs: u16,
    /// Messages that were committed before the connection stood.
    pub backlog_per_second: u32,
}

/// The version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Protocol {
    #[serde(rename = "3.1.1")]
    V3,
    #[serde(rename = "5")]
    V5,
}

/// Deliberately without `Debug`: a password must not reach a log.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// How a station stands with its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Not yet tried to the end.
    Starting,
    Connected {
        since: Timestamp,
    },
    Disconnected {
        since: Timestamp,
        reason: BrokerError,
    },
}

/// The broker is not there, or does not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker: {address}: {fault}")]
pub struct BrokerError {
    pub address: String,
    pub fault: Fault,
}

impl BrokerError {
    fn new(settings: &BrokerSettings, fault: Fault) -> Self {
        Self { address: format!("{}:{}", settings.host, settings.port), fault }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Trying again will not help before somebody changes something.
    #[error(
        "refused: {0}; check the broker's access rules and this station's username, password and client id"
    )]
    Refused(&'static str),
    #[error("cannot be reached: {0}; start the broker, or correct its host and port")]
    Unreachable(String),
    #[error("no answer: {0}; the network may be cut, or something else listens there")]
    NoAnswer(&'static str),
    #[error(
        "the connection was closed by the other side; the broker may have ended, or another client uses the same client id"
    )]
    Closed,
    /// The same before CONNACK, with MQTT 5.
    #[error(
        "the connection was closed before the broker accepted it; the broker may be starting, or speak MQTT 3.1.1 only: then set broker.protocol = \"3.1.1\""
    )]
    NotAccepted,
    #[error("the broker speaks MQTT 3.1.1 only; set broker.protocol = \"3.1.1\"")]
    OlderProtocol,
    #[error("the broker ended the connection: {0}")]
    Dismissed(String),
    #[error("does not speak MQTT as expected: {0}")]
    Protocol(String),
}
