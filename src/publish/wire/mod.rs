//! The JSON messages of the station, field by field: `verdict`, `status`, `heartbeat` and `cmd/trigger/ack`.
//!
//! Guarantees: field names, order and types are those of the contract (`verdict.schema.json` and its siblings in `publish/`, checked against
//! every message in the tests). A key never changes its type, absent values are `null`.
//! Leaves out: topics and delivery (see `topics`, `session`).

mod encoding;
mod heartbeat;
mod status;
mod trigger;
mod trigger_ack;
mod verdict;

pub(in crate::publish) use heartbeat::heartbeat;
pub(crate) use status::{AgentState, status};
pub(in crate::publish) use trigger::{TriggerMessage, read_trigger};
pub(in crate::publish) use trigger_ack::trigger_ack;
pub(in crate::publish) use verdict::{verdict_body, verdict_message};
