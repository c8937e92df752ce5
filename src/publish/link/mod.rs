//! One connection to the broker, in either version of MQTT.
//!
//! `connection` is the link itself, `letter` what is sent over it, `options` how it is opened. `dial` opens the TCP connection,
//! `relay` stands between it and rumqttc, and `stranger` and `tls_trial` name what is no broker. `v4` (MQTT 3.1.1) and `v5` (MQTT 5) make the
//! two interfaces of rumqttc look the same.

mod connection;
mod dial;
mod letter;
mod options;
mod relay;
mod stranger;
mod tls_trial;
mod v4;
mod v5;

pub(super) use connection::Link;
pub(super) use dial::dial;
pub(super) use letter::{BrokerLimits, Class, IncomingMessage, Letter, LinkEvent};
pub(super) use relay::LARGEST_PACKET;
