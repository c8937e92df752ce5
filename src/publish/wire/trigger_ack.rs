//! The `cmd/trigger/ack` message: the answer to a trigger of the line.

use serde::Serialize;
use uuid::Uuid;

use super::encoding::{V, json, time};
use crate::capture::trigger::Answer;

#[derive(Serialize)]
struct TriggerAckMessage<'a> {
    v: u8,
    boot_id: String,
    part_id: Option<&'a str>,
    meas_id: Option<&'a str>,
    ack: &'static str,
    reason: Option<&'a str>,
    received_at: String,
}

/// The `cmd/trigger/ack` message.
pub(in crate::publish) fn trigger_ack(boot_id: Uuid, answer: &Answer) -> String {
    json(&TriggerAckMessage {
        v: V,
        boot_id: boot_id.to_string(),
        part_id: answer.part_id.as_deref(),
        meas_id: answer.meas_id.as_deref(),
        ack: answer.ack.word(),
        reason: answer.reason.as_deref(),
        received_at: time(answer.received_at),
    })
}
