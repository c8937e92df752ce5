//! MQTT 3.1.1, as rumqttc speaks it.
//!
//! Leaves out: refusals, for which the protocol has no word. mosquitto acknowledges a message that its access list
//! forbids, or that is larger than its `message_size_limit`, and throws it away; at one larger than its
//! `max_packet_size` it closes the connection (see `refusal` in the parent for that).

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, LastWill, MqttOptions, Outgoing, Packet, QoS,
    StateError, SubscribeReasonCode,
};

use super::{Class, Client, Event, EventLoop, Letter, Limits, MAX_PACKET_BYTES, Message, REQUESTS};
use crate::publish::{BrokerSettings, Fault};

pub(super) fn open(
    settings: &BrokerSettings,
    connect_limit: Duration,
    will: Option<Letter>,
) -> (Client, EventLoop) {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_clean_session(true)
        .set_keep_alive(Duration::from_secs(settings.keep_alive_secs.into()))
        .set_inflight(REQUESTS as u16)
        .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
    if let Some(credentials) = &settings.credentials {
        options.set_credentials(&credentials.username, &credentials.password);
    }
    if let Some(will) = will {
        let (qos, retain) = place(will.class);
        options.set_last_will(LastWill::new(will.topic, will.payload, qos, retain));
    }
    let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
    let mut network = event_loop.network_options();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(connect_limit.as_secs().max(1));
    event_loop.set_network_options(network);
    (Client::V4(client), EventLoop::V4(Box::new(event_loop)))
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

pub(super) async fn next(event_loop: &mut rumqttc::EventLoop) -> Result<Event, Fault> {
    loop {
        return Ok(match event_loop.poll().await.map_err(fault)? {
            rumqttc::Event::Incoming(Packet::ConnAck(_)) => Event::Accepted(Limits::UNSAID),
            rumqttc::Event::Outgoing(Outgoing::Publish(packet_id)) => Event::Written(packet_id),
            rumqttc::Event::Incoming(Packet::PubAck(ack)) => {
                Event::Answered { packet_id: ack.pkid, answer: Ok(()) }
            }
            rumqttc::Event::Incoming(Packet::SubAck(ack)) => {
                let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
                Event::Subscribed(if refused { Err("refused") } else { Ok(()) })
            }
            rumqttc::Event::Incoming(Packet::Publish(publish)) => Event::Heard(Message {
                payload: publish.payload.to_vec(),
                retained: publish.retain,
                again: publish.dup,
                packet_id: publish.pkid,
            }),
            rumqttc::Event::Outgoing(Outgoing::AwaitAck(_)) => Event::PacketIdTaken,
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Event::Disconnected,
            _ => continue,
        });
    }
}

fn fault(error: ConnectionError) -> Fault {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword => Fault::Refused("username or password is wrong"),
            ConnectReturnCode::NotAuthorized => Fault::Refused("not authorised"),
            ConnectReturnCode::BadClientId => Fault::Refused("client id not accepted"),
            ConnectReturnCode::RefusedProtocolVersion => Fault::Refused("MQTT 3.1.1 not accepted"),
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                Fault::NoAnswer("the broker says that it is unavailable")
            }
        },
        ConnectionError::Io(error) => Fault::Unreachable(error.to_string()),
        ConnectionError::NetworkTimeout => Fault::NoAnswer("no CONNACK in time"),
        ConnectionError::FlushTimeout => Fault::NoAnswer("nothing can be written any more"),
        ConnectionError::MqttState(StateError::AwaitPingResp) => Fault::NoAnswer("no answer to a ping"),
        ConnectionError::MqttState(StateError::ConnectionAborted | StateError::Io(_)) => Fault::Closed,
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::Error::Io(_))) => Fault::Closed,
        other => Fault::Protocol(other.to_string()),
    }
}
