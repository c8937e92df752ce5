//! The broker: how to reach it, and what can go wrong with it.

/// How to reach the broker, and how fast to send the backlog.
#[derive(Clone)]
pub struct BrokerSettings {
    pub protocol: Protocol,
    pub host: String,
    pub port: u16,
    pub credentials: Option<Credentials>,
    /// Must differ between stations: a broker closes the older of two connections with the same id.
    pub client_id: String,
    pub keep_alive_secs: u16,
    /// How many messages of the backlog (those committed before the connection was up) are sent a second.
    pub backlog_per_second: u32,
    /// Whether the broker keeps `status` and `last` for later subscribers; false for a broker that keeps no messages.
    pub retain: bool,
}

/// The version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Protocol {
    #[serde(rename = "3.1.1")]
    V3,
    #[serde(rename = "5")]
    V5,
}

/// Username and password. Has no `Debug` on purpose: a password must not get into the journal.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// The broker cannot be reached, or does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker: {address}: {fault}{hint}")]
pub struct BrokerError {
    pub address: String,
    pub fault: BrokerFault,
    /// What may be the reason, in these settings.
    hint: &'static str,
}

impl BrokerError {
    pub(super) fn new(settings: &BrokerSettings, fault: BrokerFault) -> Self {
        let password = settings.credentials.as_ref().map(|login| login.password.as_str());
        let hint = match (&fault, password) {
            (BrokerFault::Refused(_), Some(password)) if password.trim_end() != password => {
                "; the password in password_file ends with a blank, which is sent too"
            }
            (BrokerFault::Refused(_), Some(password)) if password.trim_start() != password => {
                "; the password in password_file begins with a blank, which is sent too"
            }
            _ => "",
        };
        Self { address: settings.address(), fault, hint }
    }
}

impl BrokerSettings {
    /// Host and port, for people.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with the broker or the connection to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerFault {
    /// Trying again does not help until somebody changes something.
    #[error(
        "refused: {0}; check the broker's access rules and this station's username, password and client id"
    )]
    Refused(&'static str),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no answer: {0}; the network may be cut, or something else listens there")]
    NoAnswer(&'static str),
    #[error(
        "the connection was closed by the other side; the broker may have ended, or another client uses the same client id"
    )]
    Closed,
    /// The connection was closed before CONNACK.
    #[error("the connection was closed before the broker accepted it; {}", why_not_accepted(*.0))]
    NotAccepted(Protocol),
    /// What answers is no MQTT broker.
    #[error("{0}")]
    Stranger(String),
    /// The connection ended while a message was read that is too large for this station.
    #[error(
        "the connection ended within an incoming message of {bytes} bytes, larger than any trigger; delete the message if the broker keeps it"
    )]
    TooLargeToRead { bytes: usize },
    /// The broker said so in CONNACK, or when it ended the connection.
    #[error("{0}")]
    Lacks(String),
    /// Another client has taken this station's place: the broker said so, or it seems so.
    #[error("{}", why_taken_over(client_id, *told))]
    TakenOver { client_id: String, told: bool },
    #[error("the broker speaks MQTT 3.1.1 only; set broker.protocol = \"3.1.1\"")]
    OlderProtocol,
    #[error("the broker ended the connection: {0}")]
    Dismissed(String),
    #[error("does not speak MQTT as expected: {0}")]
    Protocol(String),
}

impl BrokerFault {
    /// Whether trying again cannot help until somebody changes something.
    pub fn needs_a_change(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::OlderProtocol
                | Self::Stranger(_)
                | Self::Lacks(_)
                | Self::TakenOver { .. }
        )
    }
}

fn why_taken_over(client_id: &str, told: bool) -> String {
    if told {
        format!(
            "another client with the client id {client_id} has taken this station's connection; give this station a broker.client_id of its own, or end the second agent with these topics"
        )
    } else {
        format!(
            "the broker ends each connection soon after it has accepted it, and gives no reason; most likely another client has the client id {client_id}: give this station a broker.client_id of its own, or end the second agent with these topics; if not, the broker's log says why"
        )
    }
}

/// What may be the reason, by version of MQTT.
fn why_not_accepted(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V5 => {
            "the broker may be starting, or not take this station's Last Will (`certiscope check` finds out why), or speak MQTT 3.1.1 only: then set broker.protocol = \"3.1.1\"; or the port may be one for TLS"
        }
        Protocol::V3 => {
            "the broker may be starting, or not take this station's Last Will (`certiscope check` finds out why); or the port may be one for TLS or of another service"
        }
    }
}
