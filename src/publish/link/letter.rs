//! What is sent over a connection, and what happens on it, the same for both versions of MQTT.

/// How many messages rumqttc may have that are not yet written, and how many that are not yet acknowledged. Several times
/// what `session` keeps unacknowledged, so that neither limit is reached on a connection that works.
pub(super) const REQUESTS: usize = 64;

/// Far above any message of ours. rumqttc's default of 10 KiB would be too small. With MQTT 5 the broker is told, and keeps larger
/// packets to itself.
pub(super) const MAX_PACKET_BYTES: usize = 1 << 20;

pub(super) const NO_QOS_1: &str = "the broker does not take messages of QoS 1, and a verdict without an acknowledgement could be lost; allow QoS 1 (mosquitto: max_qos)";
pub(super) const NO_RETAIN: &str = "the broker does not keep messages (retained); set broker.retain = false, or allow it (mosquitto: retain_available)";

/// A message to publish, with its topic.
#[derive(Clone)]
pub(in crate::publish) struct Letter {
    pub topic: String,
    pub payload: Vec<u8>,
    pub class: Class,
}

/// How the broker treats a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) enum Class {
    /// QoS 0.
    Unacknowledged,
    /// QoS 1.
    Acknowledged,
    /// QoS 1 and kept by the broker for later subscribers.
    Retained,
}

/// A message of a topic that we subscribed to.
pub(in crate::publish) struct IncomingMessage {
    pub payload: Vec<u8>,
    /// The size of the packet, if it was too large: the payload is then left out.
    pub too_large: Option<usize>,
    /// The broker stored it before we subscribed.
    pub retained: bool,
    /// The broker says that it may have sent it before.
    pub again: bool,
    pub packet_id: u16,
}

/// What happened on the connection.
pub(in crate::publish) enum LinkEvent<T> {
    Connected(BrokerLimits),
    /// The broker has acknowledged the message with this token.
    Acknowledged(T),
    /// The broker refused the message with this token, or it is larger than the broker allows; and why.
    Refused(T, String),
    Received(IncomingMessage),
    Subscribed,
    /// Why the broker refused the subscription.
    SubscribeRefused(&'static str),
    /// Our DISCONNECT is written.
    Closed,
}

/// The limits of the broker for this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) struct BrokerLimits {
    /// Messages without PUBACK.
    pub unacknowledged: usize,
    pub packet_bytes: usize,
    /// Whether it takes messages of QoS 1, as far as it says.
    pub acknowledges: bool,
    /// Whether it keeps messages for later subscribers, as far as it says.
    pub keeps: bool,
}

impl BrokerLimits {
    /// Our limits, for a broker that states none.
    pub(super) const UNSAID: Self =
        Self { unacknowledged: REQUESTS, packet_bytes: MAX_PACKET_BYTES, acknowledges: true, keeps: true };

    /// What a station cannot do without, and the broker lacks.
    pub(super) fn lacks(&self, retain: bool) -> Option<&'static str> {
        if !self.acknowledges {
            Some(NO_QOS_1)
        } else if retain && !self.keeps {
            Some(NO_RETAIN)
        } else {
            None
        }
    }
}

/// What rumqttc reports, the same for both protocols.
pub(super) enum ProtocolEvent {
    Accepted(BrokerLimits),
    /// The next publish in order is written, under this packet id; 0 for QoS 0.
    Written(u16),
    /// A PUBACK. With MQTT 5 it may refuse the message; the error is the meaning of its reason code.
    Answered {
        packet_id: u16,
        answer: Result<(), &'static str>,
    },
    Received(IncomingMessage),
    /// A SUBACK.
    Subscribed(Result<(), &'static str>),
    /// A packet id was used again before its first PUBACK.
    PacketIdTaken,
    Disconnected,
}
