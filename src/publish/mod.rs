//! Sends verdicts to the line and takes its commands: MQTT, and the only module that knows rumqttc.
//!
//! ```text
//! broker        how to reach the broker, and what can be wrong with it
//! topics        where messages go
//! wire          what the JSON messages say, field by field
//! json_output   the verdict messages: encoded at the commit, completed when they are sent
//! commands      what the line asks (`cmd/trigger`)
//! link          one connection, on which every answer of the broker finds its message
//! session       what is sent when on a connection
//! pump          makes one session after another, for one station
//! last_will     the `status` messages: will, online, stopped
//! heartbeat     the message of each second
//! backlog_rate  how fast the backlog may be sent
//! refusal       which rows the broker refuses, and when they are tried again
//! delivery      how long verdicts took to the broker
//! ```
//!
//! Guarantees: only what is committed is published. A row leaves the outbox on its PUBACK and in no other
//! way (with MQTT 5 a PUBACK may refuse: then the row waits behind the others, visibly). Live verdicts go
//! before the backlog. Nothing here makes the inspection wait, whatever the broker does, and what it does is
//! visible as [`Connection`]. Delivery is at least once; a reader recognises a message that came twice by
//! (boot_id, seq).
//! Leaves out: TLS, and refusals that MQTT 3.1.1 cannot express: with it, a broker whose access list forbids a topic
//! acknowledges the message and throws it away (mosquitto does; it does the same with a message above its
//! `message_size_limit`). Use MQTT 5 where there is an access list.

mod backlog_rate;
mod broker;
mod commands;
mod connection;
mod context;
mod delivery;
mod heartbeat;
pub(crate) mod json_output;
mod lane;
mod last_will;
mod link;
mod pump;
mod refusal;
mod session;
mod settle;
mod topics;
pub(crate) mod wire;

pub use broker::{BrokerFault, BrokerSettings, Credentials, Protocol};
pub(crate) use commands::Commands;
pub use connection::Connection;
pub use context::{PublishContext, Timing};
pub use delivery::DeliveryTimes;
pub use link::probe;
pub use pump::Pump;
pub use topics::Topics;
