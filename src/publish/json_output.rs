//! The output `json`: verdicts as JSON messages of MQTT.
//!
//! An output encodes a verdict in two steps. At the commit, `encode` makes the bytes that the store keeps. When they are
//! sent, `message` adds what is known only then: whether the message is historical. Another output (Sparkplug B, a PLC
//! topic) would do the same under its own [`OutputId`]; its bytes need not be JSON.

use uuid::Uuid;

use super::wire;
use crate::inspection::Inspection;
use crate::store::OutputId;

/// The name of this output in the inspection log.
pub const JSON: OutputId = OutputId::new("json");

/// Whether a message is sent right after its commit, or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeliness {
    Live,
    Historical,
}

/// Makes the bytes that the store keeps of an inspection for this output. Called by every commit.
pub fn encode(boot_id: Uuid, seq: u64, inspection: &Inspection) -> Vec<(OutputId, Vec<u8>)> {
    vec![(JSON, wire::verdict_body(boot_id, seq, inspection).into_bytes())]
}

/// Makes the message that is sent from the stored bytes.
pub fn message(stored: Vec<u8>, timeliness: Timeliness) -> Vec<u8> {
    wire::verdict_message(stored, timeliness == Timeliness::Historical)
}
