//! The output `json`: verdicts as JSON messages of MQTT.
//!
//! An output encodes in two steps. At the commit it makes what the store keeps (`encode`); when that is sent, it adds
//! what is known only then (`message`): whether it comes late. Another output (Sparkplug B, a PLC topic) does the same
//! under another [`OutputId`], and its stored bytes need not be JSON.

use uuid::Uuid;

use super::wire;
use crate::inspection::Inspection;
use crate::store::OutputId;

/// As the log names it.
pub const JSON: OutputId = OutputId::new("json");

/// Whether a message is sent as it is committed, or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeliness {
    Live,
    Historical,
}

/// What the store keeps of an inspection for this output: handed to every commit.
pub fn encode(boot_id: Uuid, seq: u64, inspection: &Inspection) -> Vec<(OutputId, Vec<u8>)> {
    vec![(JSON, wire::verdict_body(boot_id, seq, inspection).into_bytes())]
}

/// What is sent of a stored message.
pub fn message(stored: Vec<u8>, timeliness: Timeliness) -> Vec<u8> {
    wire::verdict_message(stored, timeliness == Timeliness::Historical)
}
