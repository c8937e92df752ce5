//! What goes over a connection, and what happens on it, in the words of neither version of MQTT.

/// Room for what is handed to rumqttc and not yet written; also its window. Several times what `session`
/// keeps unacknowledged, so that neither limit is reached on a connection that works.
pub(super) const REQUESTS: usize = 64;

/// Far above any message of ours; rumqttc's own limit of 10 KiB is not.
pub(super) const MAX_PACKET_BYTES: usize = 1 << 20;

/// A message and its place.
pub(in crate::publish) struct Letter {
    pub topic: String,
    pub payload: Vec<u8>,
    pub class: Class,
}

/// What the broker owes a message.
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
    /// Kept by the broker from before we subscribed.
    pub retained: bool,
    /// The broker says that it has sent it before.
    pub again: bool,
    pub packet_id: u16,
}

/// What happened on the connection.
pub(in crate::publish) enum LinkEvent<T> {
    Connected(BrokerLimits),
    /// The broker has the message that was published with this token.
    Acknowledged(T),
    /// The broker answered that it does not take this message, or had said before that it would not.
    Refused(T, String),
    Heard(IncomingMessage),
    /// Why the broker refused the subscription.
    SubscribeRefused(&'static str),
    /// Our DISCONNECT is written.
    Closed,
}

/// What the broker takes on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) struct BrokerLimits {
    /// Messages without PUBACK.
    pub unacknowledged: usize,
    pub packet_bytes: usize,
}

impl BrokerLimits {
    /// Of a broker that states none.
    pub(super) const UNSAID: Self = Self { unacknowledged: REQUESTS, packet_bytes: MAX_PACKET_BYTES };
}

/// What rumqttc reports, the same for both protocols.
pub(super) enum ProtocolEvent {
    Accepted(BrokerLimits),
    /// The next publish in order is written, under this packet id; 0 for QoS 0.
    Written(u16),
    /// A PUBACK; with MQTT 5 it may be a refusal, in the words of its reason code.
    Answered {
        packet_id: u16,
        answer: Result<(), &'static str>,
    },
    Heard(IncomingMessage),
    /// A SUBACK.
    Subscribed(Result<(), &'static str>),
    /// A packet id was used again before its first PUBACK.
    PacketIdTaken,
    Disconnected,
}
