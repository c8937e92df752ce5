//! One connection to the broker, on which every acknowledgement finds the message it belongs to.
//!
//! rumqttc 0.25 has no handle from a publish to its PUBACK, drops what is pending when a reconnect finds no
//! session, and may loop on a packet id it used twice. So a [`Link`] lives for one connection with a clean
//! session and is never reused: after any [`Fault`] it is dropped with all its state, and the next one
//! starts from the outbox. Within it, rumqttc reports the packet ids it gave in the order of the publishes,
//! which ties each PUBACK to its message.
//! Guarantees: [`Link::publish`] never waits; [`Link::next`] may be dropped at any await.
//! Leaves out: what to send, and when to give up on a PUBACK (see `pump`).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing,
    Packet, QoS, StateError,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{BrokerError, BrokerSettings, Fault};

/// Room for what is handed to rumqttc and not yet written; also its window. Several times what `pump`
/// keeps unacknowledged, so that neither is ever reached on a connection that moves.
const REQUESTS: usize = 64;

/// Far above any message of ours; rumqttc's own limit of 10 KiB is not.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// A message and its place.
pub(super) struct Letter {
    pub topic: String,
    pub payload: String,
    pub class: Class,
}

/// What the broker owes a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// QoS 0.
    Unacknowledged,
    /// QoS 1.
    Acknowledged,
    /// QoS 1 and kept by the broker for whoever subscribes later.
    Retained,
}

/// What happened on the connection.
pub(super) enum Report<T> {
    Connected,
    /// The broker has the message that was published with this token.
    Acknowledged(T),
    /// Our DISCONNECT is written.
    Closed,
}

/// One connection; `T` tells its messages apart.
pub(super) struct Link<T> {
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    /// Given to rumqttc, packet id not yet known; in order.
    handed: VecDeque<(T, Instant)>,
    /// Written under this packet id, PUBACK outstanding.
    written: HashMap<u16, (T, Instant)>,
    /// Aborted when the link is dropped.
    _polling: JoinSet<()>,
}

impl<T> Link<T> {
    /// Begins to connect; [`Link::next`] reports how it went. `connect_limit` covers name, TCP and CONNACK.
    pub(super) fn open(settings: &BrokerSettings, connect_limit: Duration, will: Option<Letter>) -> Self {
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
            let (qos, retain) = will.class.qos();
            options.set_last_will(LastWill::new(will.topic, will.payload, qos, retain));
        }
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        let mut network = event_loop.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(connect_limit.as_secs().max(1));
        event_loop.set_network_options(network);
        let (forward, events) = mpsc::channel(REQUESTS);
        let mut polling = JoinSet::new();
        polling.spawn(poll(event_loop, forward));
        Self { client, events, handed: VecDeque::new(), written: HashMap::new(), _polling: polling }
    }

    /// Hands a message over, without waiting.
    pub(super) fn publish(&mut self, letter: Letter, token: T) -> Result<(), Fault> {
        let (qos, retain) = letter.class.qos();
        self.client
            .try_publish(letter.topic, qos, retain, letter.payload)
            .map_err(|_| Fault::NoAnswer("messages pile up, the connection does not move"))?;
        self.handed.push_back((token, Instant::now()));
        Ok(())
    }

    /// Asks for an orderly end; [`Report::Closed`] follows.
    pub(super) fn disconnect(&mut self) -> Result<(), Fault> {
        self.client.try_disconnect().map_err(|_| Fault::Closed)
    }

    /// The next thing that happened. Any error is the end of this link.
    pub(super) async fn next(&mut self) -> Result<Report<T>, Fault> {
        loop {
            match self.events.recv().await.ok_or(Fault::Closed)?.map_err(fault)? {
                Event::Incoming(Packet::ConnAck(_)) => return Ok(Report::Connected),
                Event::Outgoing(Outgoing::Publish(packet_id)) => {
                    let sent = self.handed.pop_front();
                    if packet_id != 0 {
                        // packet id 0 is QoS 0: nothing will come back
                        self.written.extend(sent.map(|sent| (packet_id, sent)));
                    }
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    if let Some((token, _)) = self.written.remove(&ack.pkid) {
                        return Ok(Report::Acknowledged(token));
                    }
                }
                // A packet id came round again before its first PUBACK: the broker forgot one message.
                Event::Outgoing(Outgoing::AwaitAck(_)) => {
                    return Err(Fault::NoAnswer("a message was never acknowledged"));
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(Report::Closed),
                _ => {}
            }
        }
    }

    /// When the message was handed over that has waited longest for the broker.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.handed.front().into_iter().chain(self.written.values()).map(|(_, since)| *since).min()
    }
}

impl Class {
    fn qos(self) -> (QoS, bool) {
        match self {
            Self::Unacknowledged => (QoS::AtMostOnce, false),
            Self::Acknowledged => (QoS::AtLeastOnce, false),
            Self::Retained => (QoS::AtLeastOnce, true),
        }
    }
}

/// Polls in a task of its own: rumqttc's poll loses a packet when it is dropped in the middle of a write.
async fn poll(mut event_loop: EventLoop, forward: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = event_loop.poll().await;
        let broken = event.is_err(); // polling on would reconnect, with what rumqttc kept
        if forward.send(event).await.is_err() || broken {
            return;
        }
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

/// Connects once and leaves again: is the broker there, and does it let this station in?
pub async fn probe(settings: &BrokerSettings, limit: Duration) -> Result<(), BrokerError> {
    let settings = BrokerSettings { client_id: format!("{}-check", settings.client_id), ..settings.clone() };
    let mut link = Link::<()>::open(&settings, limit, None);
    let visit = async {
        link.next().await?;
        link.disconnect()?;
        link.next().await.map(|_| ())
    };
    visit.await.map_err(|fault| BrokerError::new(&settings, fault))
}
