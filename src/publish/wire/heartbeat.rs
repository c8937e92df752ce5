//! The `heartbeat` message.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::encoding::{V, json, time};

#[derive(Serialize)]
struct HeartbeatMessage {
    v: u8,
    boot_id: String,
    count: u64,
    sent_at: String,
}

/// The `heartbeat` message; `count` grows by one with each message since the agent started.
pub(in crate::publish) fn heartbeat(boot_id: Uuid, count: u64, sent_at: Timestamp) -> String {
    json(&HeartbeatMessage { v: V, boot_id: boot_id.to_string(), count, sent_at: time(sent_at) })
}
