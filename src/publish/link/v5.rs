//! MQTT 5, as rumqttc speaks it: a clean start, no session, no message expiry, no topic alias.
//!
//! What rumqttc 0.25.1 does here and what becomes of it: it keeps the broker's Receive Maximum by itself and
//! numbers its packets within it; a packet larger than the broker's maximum ends its connection, so the link holds
//! those back; a PUBACK with a reason code that it does not know ends its connection too (mosquitto's
//! 0x95 for a message above `message_size_limit`; see `refusal` in the parent); a flush has no time limit, so
//! a half-open link is noticed by the ping or by the missing PUBACK.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectReasonCode, LastWill, Packet, PubAckReason, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};

use super::{Class, Client, Event, EventLoop, Letter, Limits, MAX_PACKET_BYTES, Message, REQUESTS};
use crate::publish::{BrokerSettings, Fault};

pub(super) fn open(
    settings: &BrokerSettings,
    connect_limit: Duration,
    will: Option<Letter>,
) -> (Client, EventLoop) {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_clean_start(true)
        .set_keep_alive(Duration::from_secs(settings.keep_alive_secs.into()))
        .set_outgoing_inflight_upper_limit(REQUESTS as u16)
        .set_max_packet_size(Some(MAX_PACKET_BYTES as u32))
        .set_connection_timeout(connect_limit.as_secs().max(1))
        .set_network_options(network);
    if let Some(credentials) = &settings.credentials {
        options.set_credentials(&credentials.username, &credentials.password);
    }
    if let Some(will) = will {
        let (qos, retain) = place(will.class);
        options.set_last_will(LastWill::new(will.topic, will.payload, qos, retain, None));
    }
    let (client, event_loop) = AsyncClient::new(options, REQUESTS);
    (Client::V5(client), EventLoop::V5(Box::new(event_loop)))
}

/// Whether there was room for it.
pub(super) fn publish(client: &AsyncClient, letter: Letter) -> bool {
    let (qos, retain) = place(letter.class);
    client.try_publish(letter.topic, qos, retain, letter.payload).is_ok()
}

fn place(class: Class) -> (QoS, bool) {
    match class {
        Class::Unacknowledged => (QoS::AtMostOnce, false),
        Class::Acknowledged => (QoS::AtLeastOnce, false),
        Class::Retained => (QoS::AtLeastOnce, true),
    }
}

pub(super) async fn next(event_loop: &mut rumqttc::v5::EventLoop) -> Result<Event, Fault> {
    loop {
        return Ok(match event_loop.poll().await.map_err(fault)? {
            rumqttc::v5::Event::Incoming(Packet::ConnAck(accepted)) => Event::Accepted(limits(&accepted)),
            rumqttc::v5::Event::Outgoing(Outgoing::Publish(packet_id)) => Event::Written(packet_id),
            rumqttc::v5::Event::Incoming(Packet::PubAck(ack)) => {
                Event::Answered { packet_id: ack.pkid, answer: answer(ack.reason) }
            }
            rumqttc::v5::Event::Incoming(Packet::SubAck(ack)) => {
                Event::Subscribed(ack.return_codes.into_iter().try_for_each(subscribed))
            }
            rumqttc::v5::Event::Incoming(Packet::Publish(publish)) => Event::Heard(Message {
                payload: publish.payload.to_vec(),
                retained: publish.retain,
                again: publish.dup,
                packet_id: publish.pkid,
            }),
            rumqttc::v5::Event::Outgoing(Outgoing::AwaitAck(_)) => Event::PacketIdTaken,
            rumqttc::v5::Event::Outgoing(Outgoing::Disconnect) => Event::Disconnected,
            _ => continue,
        });
    }
}

fn limits(accepted: &ConnAck) -> Limits {
    let said = accepted.properties.as_ref();
    let unacknowledged = said.and_then(|said| said.receive_max).map_or(REQUESTS, usize::from);
    let packet_bytes =
        said.and_then(|said| said.max_packet_size).map_or(MAX_PACKET_BYTES, |max| max as usize);
    Limits {
        unacknowledged: unacknowledged.min(Limits::UNSAID.unacknowledged),
        packet_bytes: packet_bytes.min(Limits::UNSAID.packet_bytes),
    }
}

/// Only these two mean that the broker has the message.
fn answer(reason: PubAckReason) -> Result<(), &'static str> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        PubAckReason::UnspecifiedError => Err("unspecified error"),
        PubAckReason::ImplementationSpecificError => Err("implementation specific error"),
        PubAckReason::NotAuthorized => Err("not authorised"),
        PubAckReason::TopicNameInvalid => Err("topic name invalid"),
        PubAckReason::PacketIdentifierInUse => Err("packet identifier in use"),
        PubAckReason::QuotaExceeded => Err("quota exceeded"),
        PubAckReason::PayloadFormatInvalid => Err("payload format invalid"),
    }
}

fn subscribed(reason: SubscribeReasonCode) -> Result<(), &'static str> {
    match reason {
        SubscribeReasonCode::Success(_) => Ok(()),
        SubscribeReasonCode::NotAuthorized => Err("not authorised"),
        SubscribeReasonCode::TopicFilterInvalid => Err("topic filter invalid"),
        SubscribeReasonCode::QuotaExceeded => Err("quota exceeded"),
        _ => Err("refused"),
    }
}

fn fault(error: ConnectionError) -> Fault {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(code),
        ConnectionError::Io(error) => Fault::Unreachable(error.to_string()),
        ConnectionError::Timeout(_) => Fault::NoAnswer("no CONNACK in time"),
        ConnectionError::MqttState(error) => match error {
            StateError::AwaitPingResp => Fault::NoAnswer("no answer to a ping"),
            StateError::ConnectionAborted | StateError::Io(_) => Fault::Closed,
            StateError::Deserialization(Error::Io(_)) => Fault::Closed,
            // Of a PUBACK too, whatever its name says.
            StateError::Deserialization(Error::InvalidConnectReturnCode(0x95)) => {
                Fault::Protocol("reason code 0x95 (packet too large) where it has no place".to_owned())
            }
            StateError::ServerDisconnect { reason_code, .. } => Fault::Dismissed(farewell(reason_code)),
            other => Fault::Protocol(other.to_string()),
        },
        other => Fault::Protocol(other.to_string()),
    }
}

fn refused(code: ConnectReturnCode) -> Fault {
    match code {
        ConnectReturnCode::BadUserNamePassword => Fault::Refused("username or password is wrong"),
        ConnectReturnCode::NotAuthorized => Fault::Refused("not authorised"),
        ConnectReturnCode::Banned => Fault::Refused("banned"),
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            Fault::Refused("client id not accepted")
        }
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            Fault::OlderProtocol
        }
        ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::QuotaExceeded
        | ConnectReturnCode::ConnectionRateExceeded => {
            Fault::NoAnswer("the broker says that it is unavailable or busy")
        }
        other => Fault::Protocol(format!("CONNACK with {other:?}")),
    }
}

fn farewell(reason: DisconnectReasonCode) -> String {
    match reason {
        DisconnectReasonCode::SessionTakenOver => "another client uses the same client id".to_owned(),
        DisconnectReasonCode::ServerShuttingDown => "it shuts down".to_owned(),
        DisconnectReasonCode::PacketTooLarge => "a message is larger than it takes".to_owned(),
        other => format!("{other:?}"),
    }
}
