//! Sends verdicts to the line over MQTT and receives its commands. The only module that uses rumqttc.
//!
//! ```text
//! broker        how to reach the broker, and what can be wrong with it
//! topics        the topic of each message
//! wire          the JSON messages, field by field
//! json_output   the verdict messages: encoded at the commit, completed when they are sent
//! commands      the line's commands (`cmd/trigger`)
//! link          one connection; it matches each answer of the broker with its message
//! session       what is sent on a connection, and in which order
//! pump          opens one session after another, for one station
//! last_will     the `status` messages: will, online, stopped
//! heartbeat     the message of each second
//! losses        connections that end soon after they began
//! backlog_rate  how fast the backlog may be sent
//! probe         what the broker allows and what it lacks, for `certiscope check`
//! rights        which topics may be published to
//! refusal       which rows the broker refuses, and when they are tried again
//! delivery      how long it takes until a verdict is acknowledged
//! ```
//!
//! Guarantees: only committed verdicts are published. A row is deleted from the outbox when the broker acknowledges it, and
//! for no other reason. With MQTT 5 the broker can refuse a message: the row then stays, is sent after all others, and is
//! counted in `status`. Live verdicts are sent before the backlog. Nothing here makes the inspection wait, whatever the
//! broker does. [`Connection`] shows whether the broker is connected. Each message arrives at least once; if it arrives
//! twice, a reader recognises it by (boot_id, seq).
//! Leaves out: TLS, and refusals with MQTT 3.1.1, which has no way to express them. There, a broker whose access list forbids
//! a topic acknowledges the message and throws it away; mosquitto does the same with a message larger than its
//! `message_size_limit`. Use MQTT 5 where there is an access list.

mod backlog_rate;
mod broker;
mod commands;
mod connection;
mod context;
mod delivery;
pub(crate) mod fuzz;
mod heartbeat;
pub(crate) mod json_output;
mod lane;
mod last_will;
mod link;
mod losses;
mod probe;
mod pump;
mod refusal;
mod rights;
mod session;
mod settle;
mod topics;
pub(crate) mod wire;

pub use broker::{BrokerFault, BrokerSettings, Credentials, Protocol};
pub(crate) use commands::Commands;
pub use connection::Connection;
pub use context::{PublishContext, Timing};
pub use delivery::DeliveryTimes;
pub use probe::{Probe, Probed, probe};
pub use pump::Pump;
pub use topics::Topics;
