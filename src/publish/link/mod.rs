//! One connection to the broker, in either version of MQTT.
//!
//! `connection` is the link itself, `letter` what goes over it, `options` how it is opened; `v4` (MQTT 3.1.1) and `v5` (MQTT 5)
//! turn the two interfaces of rumqttc into one.

mod connection;
mod letter;
mod options;
mod v4;
mod v5;

pub(super) use connection::Link;
pub use connection::probe;
pub(super) use letter::{BrokerLimits, Class, IncomingMessage, Letter, LinkEvent};
