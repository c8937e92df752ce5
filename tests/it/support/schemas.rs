//! The JSON Schemas (2020-12) of the messages.

/// The schema of a `verdict` and of a `last` message.
pub(crate) const VERDICT_SCHEMA: &str = include_str!("../../../src/publish/verdict.schema.json");

/// The schema of a `status` message.
pub(crate) const STATUS_SCHEMA: &str = include_str!("../../../src/publish/status.schema.json");

/// The schema of a `cmd/trigger` message, which the line sends.
pub(crate) const TRIGGER_SCHEMA: &str = include_str!("../../../src/publish/trigger.schema.json");

/// The schema of the answer to it, `cmd/trigger/ack`.
pub(crate) const TRIGGER_ACK_SCHEMA: &str = include_str!("../../../src/publish/trigger_ack.schema.json");
