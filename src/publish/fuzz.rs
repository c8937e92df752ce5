//! A message on `cmd/trigger` and its answer, for the fuzz target `trigger`.

use uuid::Uuid;

use super::wire::{TriggerMessage, read_trigger, trigger_ack};
use crate::capture::trigger::{Ack, Answer};

/// Reads a trigger, and returns its answer as JSON. The names that are read must be read again as they are.
pub(crate) fn answer_to(payload: &[u8]) -> String {
    let read = read_trigger(payload);
    if let Ok(TriggerMessage { part_id, meas_id, .. }) = &read {
        let again = serde_json::json!({ "part_id": part_id, "meas_id": meas_id }).to_string();
        let again = read_trigger(again.as_bytes()).expect("a name that was read can be read again");
        assert_eq!((&again.part_id, &again.meas_id, again.left_out), (part_id, meas_id, None));
    }
    let received_at = jiff::Timestamp::UNIX_EPOCH;
    let answer = match read {
        Ok(TriggerMessage { part_id, meas_id, left_out }) => {
            Answer { part_id, meas_id, received_at, ack: Ack::Accepted, reason: left_out }
        }
        Err(why) => {
            Answer { part_id: None, meas_id: None, received_at, ack: Ack::Refused, reason: Some(why) }
        }
    };
    trigger_ack(Uuid::nil(), &answer)
}
