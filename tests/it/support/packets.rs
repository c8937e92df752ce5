//! Reads MQTT packets: enough of 3.1.1 and 5 to see what was published and what was acknowledged.

use std::collections::HashMap;
use std::io::{self, Read};

use serde_json::Value;

use super::subscriber::{Key, key};

/// The parts of a packet that tests use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The protocol version of the client: 4 is MQTT 3.1.1.
    Connect {
        version: u8,
    },
    /// A `verdict`, QoS 1.
    Verdict {
        packet_id: u16,
        key: Key,
    },
    /// `reason` is 0 where the protocol has none.
    PubAck {
        packet_id: u16,
        reason: u8,
    },
    Other,
}

/// Reads one whole packet; the length is in its fixed header. `None` at the end of the stream.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0];
    if from.read(&mut bytes)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    for digit in 0.. {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        bytes.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << (7 * digit);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.len();
    bytes.resize(body + length, 0);
    from.read_exact(&mut bytes[body..])?;
    Ok(Some(bytes))
}

/// Parses a whole packet of a client with this protocol version.
pub(crate) fn understand(packet: &[u8], version: u8) -> Packet {
    let length_digits = 1 + packet[1..].iter().take_while(|digit| **digit & 0x80 != 0).count();
    let body = &packet[1 + length_digits..];
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match packet[0] >> 4 {
        1 => Packet::Connect { version: body[2 + usize::from(number(0))] },
        3 if packet[0] & 0b110 == 0b010 => {
            let id_at = 2 + usize::from(number(0));
            let topic = std::str::from_utf8(&body[2..id_at]).expect("a topic is UTF-8");
            // The agent sends no properties: with MQTT 5 their length is the one byte 0.
            let payload = &body[id_at + 2 + usize::from(version >= 5)..];
            if !topic.ends_with("/verdict") {
                return Packet::Other;
            }
            let message: Value = serde_json::from_slice(payload).expect("a verdict is JSON");
            Packet::Verdict { packet_id: number(id_at), key: key(&message) }
        }
        4 => Packet::PubAck { packet_id: number(0), reason: body.get(2).copied().unwrap_or(0) },
        _ => Packet::Other,
    }
}

/// Finds the verdict that each PUBACK of one connection answers.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    version: u8,
    unanswered: HashMap<u16, Key>,
}

impl Conversation {
    /// Takes a packet of the client.
    pub(crate) fn said(&mut self, packet: &[u8]) {
        match understand(packet, self.version) {
            Packet::Connect { version } => self.version = version,
            Packet::Verdict { packet_id, key } => {
                self.unanswered.insert(packet_id, key);
            }
            Packet::PubAck { .. } | Packet::Other => {}
        }
    }

    /// Takes a packet of the broker; returns the verdict that it answers, and its reason code.
    pub(crate) fn answered(&mut self, packet: &[u8]) -> Option<(Key, u8)> {
        match understand(packet, self.version) {
            Packet::PubAck { packet_id, reason } => {
                self.unanswered.remove(&packet_id).map(|key| (key, reason))
            }
            _ => None,
        }
    }
}
