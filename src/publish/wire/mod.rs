//! The JSON messages of the station, field by field: `verdict`, `status`, `heartbeat`, `cmd/trigger` and `cmd/trigger/ack`.
//!
//! Guarantees: field names, order and types are those of the JSON schemas in `publish/`; the tests check messages
//! against them. A key never changes its type; a missing value is `null`.
//! Leaves out: topics (see `topics`), and when messages are sent (see `session`).

mod encoding;
mod heartbeat;
mod scanned;
mod status;
mod trigger;
mod trigger_ack;
mod verdict;

pub(in crate::publish) use heartbeat::heartbeat;
pub(crate) use status::{AgentState, status};
pub(in crate::publish) use trigger::{TriggerMessage, read_trigger};
pub(in crate::publish) use trigger_ack::trigger_ack;
pub(in crate::publish) use verdict::{verdict_body, verdict_message};
