//! MQTT 5 through rumqttc: a clean start, no session, no message expiry, no topic alias.
//!
//! What rumqttc 0.25.1 does, and what follows from it:
//! - It keeps to the broker's Receive Maximum, and its packet ids are never larger than that.
//! - It ends the connection over a packet that is larger than the broker's maximum. So the link does not give it such packets.
//! - It ends the connection over a PUBACK with a reason code that it does not know, such as mosquitto's 0x95 for a message
//!   above `message_size_limit` (see `publish::refusal`).
//! - It has no time limit for a flush. So a half-open connection is noticed by the ping or by the missing PUBACK.

use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectReasonCode, LastWill, Packet, PubAckReason, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, EventLoop, MqttOptions, StateError};
use std::time::Duration;

use rumqttc::{Outgoing, Transport};

use super::letter::{
    BrokerLimits, Class, IncomingMessage, Letter, MAX_PACKET_BYTES, NO_QOS_1, NO_RETAIN, ProtocolEvent,
    REQUESTS,
};
use super::options::ConnectOptions;
use crate::publish::broker::BrokerFault;

/// For a broker that wants no pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);

pub(super) fn open(options: ConnectOptions) -> (AsyncClient, EventLoop) {
    let network = options.network();
    let mut mqtt = MqttOptions::new(options.client_id, options.socket, 0);
    mqtt.set_transport(Transport::unix());
    mqtt.set_clean_start(true)
        .set_keep_alive(options.keep_alive)
        .set_outgoing_inflight_upper_limit(options.in_flight)
        .set_max_packet_size(Some(options.max_packet_bytes as u32))
        .set_connection_timeout(options.limit_secs)
        .set_network_options(network);
    if let Some(credentials) = options.credentials {
        mqtt.set_credentials(credentials.username, credentials.password);
    }
    if let Some(will) = options.will {
        let (qos, retain) = (qos(will.class), will.class.retained(options.retain));
        mqtt.set_last_will(LastWill::new(will.topic, will.payload, qos, retain, None));
    }
    AsyncClient::new(mqtt, options.in_flight.into())
}

/// Gives a message to rumqttc; false if there was no room for it.
pub(super) fn publish(client: &AsyncClient, letter: Letter, retain: bool) -> bool {
    client.try_publish(letter.topic, qos(letter.class), letter.class.retained(retain), letter.payload).is_ok()
}

fn qos(class: Class) -> QoS {
    if class.acknowledged() { QoS::AtLeastOnce } else { QoS::AtMostOnce }
}

pub(super) async fn next(event_loop: &mut EventLoop) -> Result<ProtocolEvent, BrokerFault> {
    loop {
        let polled = event_loop.poll().await;
        return Ok(match polled.map_err(|error| fault(error, || event_loop.options.client_id()))? {
            rumqttc::v5::Event::Incoming(Packet::ConnAck(accepted)) => {
                // A broker that wants no pings says 0, and rumqttc would then ping without a pause.
                if event_loop.options.keep_alive().is_zero() {
                    event_loop.options.set_keep_alive(PING_INTERVAL);
                }
                ProtocolEvent::Accepted(limits(&accepted))
            }
            rumqttc::v5::Event::Outgoing(Outgoing::Publish(packet_id)) => ProtocolEvent::Written(packet_id),
            rumqttc::v5::Event::Incoming(Packet::PubAck(ack)) => {
                ProtocolEvent::Answered { packet_id: ack.pkid, answer: answer(ack.reason) }
            }
            rumqttc::v5::Event::Incoming(Packet::SubAck(ack)) => {
                ProtocolEvent::Subscribed(ack.return_codes.into_iter().try_for_each(subscribed))
            }
            rumqttc::v5::Event::Incoming(Packet::Publish(publish)) => {
                ProtocolEvent::Received(IncomingMessage {
                    payload: publish.payload.to_vec(),
                    too_large: None,
                    retained: publish.retain,
                    again: publish.dup,
                    packet_id: publish.pkid,
                })
            }
            rumqttc::v5::Event::Outgoing(Outgoing::AwaitAck(_)) => ProtocolEvent::PacketIdTaken,
            rumqttc::v5::Event::Outgoing(Outgoing::Disconnect) => ProtocolEvent::Disconnected,
            _ => continue,
        });
    }
}

fn limits(accepted: &ConnAck) -> BrokerLimits {
    let said = accepted.properties.as_ref();
    let unacknowledged = said.and_then(|said| said.receive_max).map_or(REQUESTS, usize::from);
    let packet_bytes =
        said.and_then(|said| said.max_packet_size).map_or(MAX_PACKET_BYTES, |max| max as usize);
    BrokerLimits {
        unacknowledged: unacknowledged.min(BrokerLimits::UNSAID.unacknowledged),
        packet_bytes: packet_bytes.min(BrokerLimits::UNSAID.packet_bytes),
        acknowledges: said.and_then(|said| said.max_qos) != Some(0),
        keeps: said.and_then(|said| said.retain_available) != Some(0),
    }
}

/// The meaning of a PUBACK. Only the first two reasons mean that the broker has the message.
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

fn fault(error: ConnectionError, client_id: impl FnOnce() -> String) -> BrokerFault {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(code),
        ConnectionError::Io(error) => BrokerFault::Unreachable(error.to_string()),
        ConnectionError::Timeout(_) => BrokerFault::NoAnswer("no CONNACK in time"),
        ConnectionError::MqttState(error) => match error {
            StateError::AwaitPingResp => BrokerFault::NoAnswer("no answer to a ping"),
            StateError::ConnectionAborted | StateError::Io(_) => BrokerFault::Closed,
            StateError::Deserialization(Error::Io(_)) => BrokerFault::Closed,
            // rumqttc reports an unknown reason code of a PUBACK under this name too.
            StateError::Deserialization(Error::InvalidConnectReturnCode(0x95)) => BrokerFault::Protocol(
                "reason code 0x95 (packet too large) in a packet that must not have it".to_owned(),
            ),
            StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
                BrokerFault::TakenOver { client_id: client_id(), told: true }
            }
            StateError::ServerDisconnect { reason_code, .. } => BrokerFault::Dismissed(farewell(reason_code)),
            other => BrokerFault::Protocol(other.to_string()),
        },
        other => BrokerFault::Protocol(other.to_string()),
    }
}

fn refused(code: ConnectReturnCode) -> BrokerFault {
    match code {
        ConnectReturnCode::BadUserNamePassword => BrokerFault::Refused("username or password is wrong"),
        ConnectReturnCode::NotAuthorized => BrokerFault::Refused("not authorised"),
        ConnectReturnCode::Banned => BrokerFault::Refused("banned"),
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            BrokerFault::Refused("client id not accepted")
        }
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            BrokerFault::OlderProtocol
        }
        ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::QuotaExceeded
        | ConnectReturnCode::ConnectionRateExceeded => {
            BrokerFault::NoAnswer("the broker says that it is unavailable or busy")
        }
        ConnectReturnCode::RetainNotSupported => BrokerFault::Lacks(NO_RETAIN.to_owned()),
        ConnectReturnCode::QoSNotSupported => BrokerFault::Lacks(NO_QOS_1.to_owned()),
        ConnectReturnCode::PacketTooLarge => BrokerFault::Lacks(
            "the broker allows only smaller messages than this station's Last Will; raise its limit (mosquitto: max_packet_size)"
                .to_owned(),
        ),
        other => BrokerFault::Protocol(format!("CONNACK with {other:?}")),
    }
}

fn farewell(reason: DisconnectReasonCode) -> String {
    match reason {
        DisconnectReasonCode::RetainNotSupported => NO_RETAIN.to_owned(),
        DisconnectReasonCode::QoSNotSupported => NO_QOS_1.to_owned(),
        DisconnectReasonCode::ServerShuttingDown => "it is shutting down".to_owned(),
        DisconnectReasonCode::PacketTooLarge => "a message is larger than it allows".to_owned(),
        other => format!("{other:?}"),
    }
}
