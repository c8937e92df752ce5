//! MQTT 3.1.1 through rumqttc.
//!
//! Leaves out: refusals, which this protocol cannot express. When its access list forbids a message, or the message is
//! larger than its `message_size_limit`, mosquitto acknowledges the message and throws it away. When the message is larger
//! than its `max_packet_size`, it closes the connection (see `publish::refusal`).

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    StateError, SubscribeReasonCode, Transport,
};

use super::letter::{BrokerLimits, Class, IncomingMessage, Letter, ProtocolEvent};
use super::options::ConnectOptions;
use crate::publish::broker::BrokerFault;

pub(super) fn open(options: ConnectOptions) -> (AsyncClient, EventLoop) {
    let network = options.network();
    let mut mqtt = MqttOptions::new(options.client_id, options.socket, 0);
    mqtt.set_transport(Transport::unix());
    mqtt.set_clean_session(true)
        .set_keep_alive(options.keep_alive)
        .set_inflight(options.in_flight)
        .set_max_packet_size(options.max_packet_bytes, options.max_packet_bytes);
    if let Some(credentials) = options.credentials {
        mqtt.set_credentials(credentials.username, credentials.password);
    }
    if let Some(will) = options.will {
        mqtt.set_last_will(LastWill::new(
            will.topic,
            will.payload,
            qos(will.class),
            will.class.retained(options.retain),
        ));
    }
    let (client, mut event_loop) = AsyncClient::new(mqtt, options.in_flight.into());
    event_loop.set_network_options(network);
    (client, event_loop)
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
        return Ok(match event_loop.poll().await.map_err(fault)? {
            rumqttc::Event::Incoming(Packet::ConnAck(_)) => ProtocolEvent::Accepted(BrokerLimits::UNSAID),
            rumqttc::Event::Outgoing(Outgoing::Publish(packet_id)) => ProtocolEvent::Written(packet_id),
            rumqttc::Event::Incoming(Packet::PubAck(ack)) => {
                ProtocolEvent::Answered { packet_id: ack.pkid, answer: Ok(()) }
            }
            rumqttc::Event::Incoming(Packet::SubAck(ack)) => {
                let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
                ProtocolEvent::Subscribed(if refused { Err("refused") } else { Ok(()) })
            }
            rumqttc::Event::Incoming(Packet::Publish(publish)) => ProtocolEvent::Received(IncomingMessage {
                payload: publish.payload.to_vec(),
                too_large: None,
                retained: publish.retain,
                again: publish.dup,
                packet_id: publish.pkid,
            }),
            rumqttc::Event::Outgoing(Outgoing::AwaitAck(_)) => ProtocolEvent::PacketIdTaken,
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => ProtocolEvent::Disconnected,
            _ => continue,
        });
    }
}

fn fault(error: ConnectionError) -> BrokerFault {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword => BrokerFault::Refused("username or password is wrong"),
            ConnectReturnCode::NotAuthorized => BrokerFault::Refused("not authorised"),
            ConnectReturnCode::BadClientId => BrokerFault::Refused(
                "client id not accepted (or keep_alive_secs is longer than the broker allows)",
            ),
            ConnectReturnCode::RefusedProtocolVersion => BrokerFault::Refused("MQTT 3.1.1 not accepted"),
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                BrokerFault::NoAnswer("the broker says that it is unavailable")
            }
        },
        ConnectionError::Io(error) => BrokerFault::Unreachable(error.to_string()),
        ConnectionError::NetworkTimeout => BrokerFault::NoAnswer("no CONNACK in time"),
        ConnectionError::FlushTimeout => BrokerFault::NoAnswer("writing to the connection timed out"),
        ConnectionError::MqttState(StateError::AwaitPingResp) => BrokerFault::NoAnswer("no answer to a ping"),
        ConnectionError::MqttState(StateError::ConnectionAborted | StateError::Io(_)) => BrokerFault::Closed,
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::Error::Io(_))) => BrokerFault::Closed,
        other => BrokerFault::Protocol(other.to_string()),
    }
}
