//! The bytes between the broker's TCP connection and rumqttc.
//!
//! rumqttc ends the connection over an incoming packet that is larger than its limit. A retained message comes again with each
//! subscription, so everybody who may publish to one topic could keep a station away from its broker. And rumqttc shows nothing of
//! an answer that is no MQTT. So it is given a local socket, and the relay stands between that and the connection.
//! Guarantees: an incoming message above [`LARGEST_PACKET`] reaches rumqttc without its payload, whatever its size, and its size
//! is known to the link. No more than one packet of that size is in memory. What answers and is no MQTT is told by its first
//! bytes, and rumqttc gets none of them. What rumqttc has written is written to the broker before the relay ends in order.
//! Leaves out: what rumqttc writes is passed on unread.
//! Costs: each packet passes one more local socket, some hundredths of a millisecond.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener};

use super::stranger::stranger;
use crate::publish::broker::Protocol;
use crate::sync::lock;

/// The largest incoming packet that rumqttc gets whole. A trigger has some hundred bytes.
pub(in crate::publish) const LARGEST_PACKET: usize = 1 << 16;

/// The first byte of the only packet that a broker may begin with.
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 3;

/// What the relay has seen, for the link.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<SeenState>>);

#[derive(Default)]
struct SeenState {
    /// Messages passed on so far.
    messages: u64,
    /// Messages that lost their payload: their number, counted from 1, and how large the packet was.
    cut: VecDeque<(u64, usize)>,
    /// The packet that is being read and thrown away.
    skipping: Option<usize>,
    /// What answers, if it does not speak MQTT.
    stranger: Option<String>,
}

impl Seen {
    /// The size of the message with this number, if the relay took its payload out. Ask for each message once, in order.
    pub(super) fn cut(&self, number: u64) -> Option<usize> {
        let mut state = lock(&self.0);
        let bytes = state.cut.front().filter(|(cut, _)| *cut == number).map(|(_, bytes)| *bytes)?;
        state.cut.pop_front();
        Some(bytes)
    }

    /// What answers, if it does not speak MQTT.
    pub(super) fn stranger(&self) -> Option<String> {
        lock(&self.0).stranger.clone()
    }

    /// The size of a message that had not come to its end when the connection ended.
    pub(super) fn skipping(&self) -> Option<usize> {
        lock(&self.0).skipping
    }
}

/// Waits for rumqttc on `listener`, then passes bytes on in both directions until one side ends.
pub(super) async fn relay(listener: UnixListener, broker: TcpStream, protocol: Protocol, seen: Seen) {
    let client = loop {
        let Ok((client, _)) = listener.accept().await else { return };
        // Any program of this machine may connect to a socket without a file. Only our own is let in.
        let peer = client.peer_cred().ok().and_then(|peer| peer.pid());
        if peer.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            break client;
        }
    };
    drop(listener);
    let (broker_reads, mut broker_writes) = broker.into_split();
    let (mut client_reads, mut client_writes) = client.into_split();
    let outward = async {
        if tokio::io::copy(&mut client_reads, &mut broker_writes).await.is_err() {
            std::future::pending::<()>().await; // the broker is gone: what it said before is still read
        }
        let _ = broker_writes.shutdown().await;
    };
    let inward = async {
        // However it ends, rumqttc sees the end of the connection after all that came before.
        let _ = inward(BufReader::new(broker_reads), &mut client_writes, protocol, &seen).await;
        let _ = client_writes.shutdown().await;
        std::future::pending::<()>().await; // rumqttc then closes its end
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

/// Passes the broker's packets on. An error: the connection is of no more use.
async fn inward(
    mut broker: BufReader<impl AsyncRead + Unpin>,
    client: &mut (impl AsyncWrite + Unpin),
    protocol: Protocol,
    seen: &Seen,
) -> io::Result<()> {
    let first = broker.fill_buf().await?;
    if first.first().is_some_and(|byte| *byte != CONNACK) {
        lock(&seen.0).stranger = Some(stranger(first));
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = Vec::new();
    loop {
        if broker.fill_buf().await?.is_empty() {
            return Ok(());
        }
        packet.clear();
        let length = header(&mut broker, &mut packet).await?;
        let kind = packet[0] >> 4;
        let whole = packet.len() + length;
        if kind == PUBLISH {
            lock(&seen.0).messages += 1;
        }
        if whole <= LARGEST_PACKET {
            let begins = packet.len();
            packet.resize(whole, 0);
            broker.read_exact(&mut packet[begins..]).await?;
            client.write_all(&packet).await?;
        } else if kind == PUBLISH {
            lock(&seen.0).skipping = Some(whole);
            let short = without_payload(&mut broker, packet[0], length, protocol).await?;
            {
                let mut state = lock(&seen.0);
                state.skipping = None;
                let number = state.messages;
                state.cut.push_back((number, whole));
            }
            client.write_all(&short).await?;
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Reads the fixed header into `packet`; returns how many bytes follow.
async fn header(broker: &mut (impl AsyncRead + Unpin), packet: &mut Vec<u8>) -> io::Result<usize> {
    packet.push(broker.read_u8().await?);
    let mut length = 0;
    for digit in 0..4 {
        let byte = broker.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << (7 * digit);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Reads a message of `length` bytes to its end and returns it without its payload and without its properties.
async fn without_payload(
    broker: &mut (impl AsyncRead + Unpin),
    first: u8,
    length: usize,
    protocol: Protocol,
) -> io::Result<Vec<u8>> {
    let topic = broker.read_u16().await?;
    let mut body = topic.to_be_bytes().to_vec();
    let acknowledged = first & 0b110 != 0;
    let begins = 2 + usize::from(topic) + if acknowledged { 2 } else { 0 };
    if begins > length {
        return Err(io::ErrorKind::InvalidData.into());
    }
    body.resize(begins, 0);
    broker.read_exact(&mut body[2..]).await?;
    let left = (length - begins) as u64;
    let skipped = tokio::io::copy(&mut broker.take(left), &mut tokio::io::sink()).await?;
    if skipped < left {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if protocol == Protocol::V5 {
        body.push(0); // no properties
    }
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNACK_PACKET: &[u8] = &[0x20, 2, 0, 0];

    fn publish(first: u8, topic: &str, rest: &[u8], payload: usize) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(rest);
        body.extend(vec![b'x'; payload]);
        let mut packet = vec![first];
        let mut length = body.len();
        while length >= 0x80 {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend(body);
        packet
    }

    async fn pass(bytes: &[u8], protocol: Protocol) -> (Vec<u8>, Seen, bool) {
        let (seen, mut out) = (Seen::default(), Vec::new());
        let ended = inward(BufReader::new(bytes), &mut out, protocol, &seen).await;
        (out, seen, ended.is_ok())
    }

    #[tokio::test]
    async fn a_large_message_loses_its_payload_and_nothing_else_changes() {
        let small = publish(0x30, "a/b", b"", 100);
        let edge = publish(0x32, "a/b", &[0, 1], LARGEST_PACKET - 11);
        assert_eq!(edge.len(), LARGEST_PACKET);
        let large = publish(0x33, "cmd/trigger", &[0, 7], 3_000_000);
        let after = publish(0x32, "cmd/trigger", &[0, 8], 5);
        let bytes = [CONNACK_PACKET, &small, &edge, &large, &after].concat();
        let (out, seen, whole) = pass(&bytes, Protocol::V3).await;
        let short = publish(0x33, "cmd/trigger", &[0, 7], 0);
        assert_eq!(out, [CONNACK_PACKET, &small, &edge, &short, &after].concat());
        let cut: Vec<_> = (1..=4).map(|number| seen.cut(number)).collect();
        assert_eq!(cut, [None, None, Some(large.len()), None]);
        assert!(whole && seen.stranger().is_none() && seen.skipping().is_none());

        // With MQTT 5 there are properties, here none in the short one.
        let (out, ..) =
            pass(&[CONNACK_PACKET, &publish(0x31, "t", &[0], 70_000)].concat(), Protocol::V5).await;
        assert_eq!(out, [CONNACK_PACKET, &publish(0x31, "t", &[0], 0)].concat());
    }

    #[tokio::test]
    async fn what_is_no_mqtt_is_kept_from_rumqttc() {
        let (out, seen, whole) = pass(b"HTTP/1.1 400 Bad Request\r\n\r\n", Protocol::V5).await;
        assert!(out.is_empty() && !whole);
        assert!(seen.stranger().unwrap().contains("web server"));
        // Later packets that cannot be right end the connection too.
        let endless = [CONNACK_PACKET, &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
        assert!(!pass(&endless, Protocol::V3).await.2);
        let topic_beyond = [CONNACK_PACKET, &[0x30, 0xff, 0xff, 0x7f, 0xff, 0xff]].concat();
        assert!(!pass(&topic_beyond, Protocol::V3).await.2);
        let large_ack = [CONNACK_PACKET, &[0x40, 0xff, 0xff, 0x7f]].concat();
        assert!(!pass(&large_ack, Protocol::V3).await.2);
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_is_remembered() {
        let large = publish(0x32, "cmd/trigger", &[0, 7], 3_000_000);
        let (_, seen, whole) = pass(&[CONNACK_PACKET, &large[..2_000_000]].concat(), Protocol::V3).await;
        assert!(!whole);
        assert_eq!((seen.skipping(), seen.cut(1)), (Some(large.len()), None));
    }
}
