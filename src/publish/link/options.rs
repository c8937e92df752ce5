//! The options of a connection that both versions of MQTT have in common.

use std::time::Duration;

use rumqttc::NetworkOptions;

use super::letter::{Class, Letter, MAX_PACKET_BYTES, REQUESTS};
use crate::publish::broker::{BrokerSettings, Credentials};

/// The content of CONNECT, and the limits of the connection.
pub(super) struct ConnectOptions {
    pub client_id: String,
    /// The name of the local socket that rumqttc connects to; see `relay`.
    pub socket: String,
    pub credentials: Option<Credentials>,
    pub will: Option<Letter>,
    pub keep_alive: Duration,
    /// How many messages may be without PUBACK.
    pub in_flight: u16,
    pub max_packet_bytes: usize,
    /// For CONNACK.
    pub limit_secs: u64,
    pub retain: bool,
}

impl ConnectOptions {
    pub(super) fn new(
        settings: &BrokerSettings,
        socket: String,
        limit: Duration,
        will: Option<Letter>,
    ) -> Self {
        Self {
            client_id: settings.client_id.clone(),
            socket,
            credentials: settings.credentials.clone(),
            will,
            keep_alive: Duration::from_secs(settings.keep_alive_secs.into()),
            in_flight: REQUESTS as u16,
            max_packet_bytes: MAX_PACKET_BYTES,
            limit_secs: limit.as_secs().max(1),
            retain: settings.retain,
        }
    }

    /// The options of the socket.
    pub(super) fn network(&self) -> NetworkOptions {
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(self.limit_secs);
        network
    }
}

impl Class {
    /// Whether it is sent with QoS 1 (or else with QoS 0).
    pub(super) fn acknowledged(self) -> bool {
        self != Self::Unacknowledged
    }

    /// Whether the broker keeps it for later subscribers, where brokers may (`retain`).
    pub(super) fn retained(self, retain: bool) -> bool {
        retain && self == Self::Retained
    }
}
