//! The JSON Schemas (2020-12) of the messages.

/// Of a `verdict` and a `last` message.
pub(crate) const VERDICT_SCHEMA: &str = include_str!("../../../src/publish/verdict.schema.json");

/// Of a `status` message.
pub(crate) const STATUS_SCHEMA: &str = include_str!("../../../src/publish/status.schema.json");

/// Of a `cmd/trigger` message, which the line sends.
pub(crate) const TRIGGER_SCHEMA: &str = include_str!("../../../src/publish/trigger.schema.json");

/// Of its answer, `cmd/trigger/ack`.
pub(crate) const TRIGGER_ACK_SCHEMA: &str = include_str!("../../../src/publish/trigger_ack.schema.json");
