//! One connection to the broker. It matches each answer of the broker with its message.
//!
//! rumqttc 0.25 does not say which PUBACK belongs to which publish. After a reconnect without a session it drops the
//! pending messages, and it may loop when it uses a packet id twice. So a [`Link`] lives for one connection with a clean
//! session and is never reused: after any [`BrokerFault`] it is dropped with all its state, and the next link starts from
//! the outbox. Within one connection, rumqttc reports the packet ids in the order of the publishes, so each PUBACK can be
//! matched with its message.
//! Guarantees: [`Link::publish`] never waits, and never gives rumqttc a message that is larger than the broker allows
//! (rumqttc would end the connection). [`Link::next`] may be dropped at any await.
//! Leaves out: what to send, and how long to wait for a PUBACK (see `session`).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::dial::dial;
use super::letter::{BrokerLimits, Letter, LinkEvent, ProtocolEvent, REQUESTS};
use super::options::ConnectOptions;
use super::relay::{Seen, relay};
use super::stranger::TLS;
use super::tls_trial::answers_tls;
use super::{v4, v5};
use crate::publish::broker::{BrokerFault, BrokerSettings, Protocol};

/// The half of rumqttc that takes requests.
enum Client {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// The half of rumqttc that moves packets.
enum EventLoop {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<rumqttc::v5::EventLoop>),
}

/// One connection. The caller gives each message a token of type `T`, and gets it back with the answer.
pub(in crate::publish) struct Link<T> {
    client: Client,
    events: mpsc::Receiver<Result<ProtocolEvent, BrokerFault>>,
    limits: BrokerLimits,
    /// Whether messages of [`Class::Retained`](super::Class) are kept by the broker.
    retain: bool,
    /// Messages given to rumqttc whose packet id is not yet known, in order.
    handed: VecDeque<(T, Instant)>,
    /// Messages that were written, by packet id; their PUBACK has not come.
    written: HashMap<u16, (T, Instant)>,
    /// Messages larger than the broker allows, with their size; not given to rumqttc, and not yet reported.
    too_large: VecDeque<(T, usize)>,
    /// Aborted when the link is dropped.
    _polling: JoinSet<()>,
}

impl<T> Link<T> {
    /// Begins to connect; [`Link::next`] reports how it went. `connect_limit` is for name and TCP, and once more for CONNACK.
    pub(in crate::publish) fn open(
        settings: &BrokerSettings,
        connect_limit: Duration,
        will: Option<Letter>,
    ) -> Self {
        let socket = format!("\0certiscope-{}", Uuid::new_v4());
        let road = Road { settings: settings.clone(), socket: socket.clone(), limit: connect_limit };
        let options = ConnectOptions::new(settings, socket, connect_limit, will);
        let (client, event_loop) = match settings.protocol {
            Protocol::V3 => {
                let (client, event_loop) = v4::open(options);
                (Client::V4(client), EventLoop::V4(Box::new(event_loop)))
            }
            Protocol::V5 => {
                let (client, event_loop) = v5::open(options);
                (Client::V5(client), EventLoop::V5(Box::new(event_loop)))
            }
        };
        let (forward, events) = mpsc::channel(REQUESTS);
        let mut polling = JoinSet::new();
        polling.spawn(poll(event_loop, road, forward));
        Self {
            client,
            events,
            limits: BrokerLimits::UNSAID,
            retain: settings.retain,
            handed: VecDeque::new(),
            written: HashMap::new(),
            too_large: VecDeque::new(),
            _polling: polling,
        }
    }

    /// Gives a message to rumqttc, without waiting.
    pub(in crate::publish) fn publish(&mut self, letter: Letter, token: T) -> Result<(), BrokerFault> {
        let bytes = packet_bytes(&letter);
        if bytes > self.limits.packet_bytes {
            self.too_large.push_back((token, bytes));
            return Ok(());
        }
        let taken = match &self.client {
            Client::V4(client) => v4::publish(client, letter, self.retain),
            Client::V5(client) => v5::publish(client, letter, self.retain),
        };
        // The request queue of an ended connection refuses too; `next` then reports why it ended.
        if !taken && !self.events.is_closed() {
            return Err(BrokerFault::NoAnswer("messages pile up, nothing is written to the connection"));
        }
        self.handed.push_back((token, Instant::now()));
        Ok(())
    }

    /// Subscribes to a topic, with QoS 1; [`LinkEvent::Received`] follows for each of its messages.
    pub(in crate::publish) fn subscribe(&mut self, topic: String) -> Result<(), BrokerFault> {
        let taken = match &self.client {
            Client::V4(client) => client.try_subscribe(topic, rumqttc::QoS::AtLeastOnce).is_ok(),
            Client::V5(client) => {
                client.try_subscribe(topic, rumqttc::v5::mqttbytes::QoS::AtLeastOnce).is_ok()
            }
        };
        taken.then_some(()).ok_or(BrokerFault::Closed)
    }

    /// Asks for an orderly end; [`LinkEvent::Closed`] follows.
    pub(in crate::publish) fn disconnect(&mut self) -> Result<(), BrokerFault> {
        let taken = match &self.client {
            Client::V4(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
        taken.then_some(()).ok_or(BrokerFault::Closed)
    }

    /// The next event on the connection. After an error this link is of no more use.
    pub(in crate::publish) async fn next(&mut self) -> Result<LinkEvent<T>, BrokerFault> {
        if let Some((token, bytes)) = self.too_large.pop_front() {
            let limit = self.limits.packet_bytes;
            return Ok(LinkEvent::Refused(
                token,
                format!("{bytes} bytes: the broker allows at most {limit}"),
            ));
        }
        loop {
            match self.events.recv().await.unwrap_or(Err(BrokerFault::Closed)) {
                Ok(ProtocolEvent::Accepted(limits)) => {
                    if let Some(what) = limits.lacks(self.retain) {
                        return Err(BrokerFault::Lacks(what.to_owned()));
                    }
                    self.limits = limits;
                    return Ok(LinkEvent::Connected(limits));
                }
                Ok(ProtocolEvent::Written(packet_id)) => {
                    let sent = self.handed.pop_front();
                    if packet_id != 0 {
                        self.written.extend(sent.map(|sent| (packet_id, sent)));
                    }
                }
                Ok(ProtocolEvent::Answered { packet_id, answer }) => {
                    if let Some((token, _)) = self.written.remove(&packet_id) {
                        return Ok(match answer {
                            Ok(()) => LinkEvent::Acknowledged(token),
                            Err(reason) => LinkEvent::Refused(token, reason.to_owned()),
                        });
                    }
                }
                Ok(ProtocolEvent::Received(message)) => return Ok(LinkEvent::Received(message)),
                Ok(ProtocolEvent::Subscribed(Ok(()))) => return Ok(LinkEvent::Subscribed),
                Ok(ProtocolEvent::Subscribed(Err(reason))) => return Ok(LinkEvent::SubscribeRefused(reason)),
                Ok(ProtocolEvent::PacketIdTaken) => {
                    return Err(BrokerFault::NoAnswer("a message was never acknowledged"));
                }
                Ok(ProtocolEvent::Disconnected) => return Ok(LinkEvent::Closed),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// When the message that has waited longest for the broker was published; `None` if none waits.
    pub(in crate::publish) fn waiting_since(&self) -> Option<Instant> {
        self.handed.front().into_iter().chain(self.written.values()).map(|(_, since)| *since).min()
    }
}

/// The size of the PUBLISH packet, with a packet id. Computed for MQTT 5, whose packets are never shorter than those of 3.1.1.
fn packet_bytes(letter: &Letter) -> usize {
    let (topic_length, packet_id, no_properties) = (2, 2, 1);
    let remaining = topic_length + letter.topic.len() + packet_id + no_properties + letter.payload.len();
    let length_digits = match remaining {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + length_digits + remaining
}

/// The way to the broker.
struct Road {
    settings: BrokerSettings,
    /// The name of the local socket between relay and rumqttc, which begins with NUL: it is in no folder.
    socket: String,
    /// For name and TCP.
    limit: Duration,
}

impl Road {
    /// Connects to the broker and starts the relay in front of it.
    async fn open(&self, relaying: &mut JoinSet<()>, seen: &Seen) -> Result<(), BrokerFault> {
        let BrokerSettings { host, port, protocol, .. } = &self.settings;
        let broker = dial(host, *port, self.limit).await?;
        let listener = UnixListener::bind(&self.socket).map_err(|error| {
            BrokerFault::Unreachable(format!("this machine opens no local socket: {error}"))
        })?;
        relaying.spawn(relay(listener, broker, *protocol, seen.clone()));
        Ok(())
    }
}

/// How long a TLS listener may take to answer.
const TLS_LIMIT: Duration = Duration::from_secs(2);

/// How long the relay may take to write what rumqttc has written last.
const RELAY_LIMIT: Duration = Duration::from_secs(2);

/// Polls rumqttc in a separate task, because its poll loses a packet when it is dropped in the middle of a write.
async fn poll(
    mut event_loop: EventLoop,
    road: Road,
    forward: mpsc::Sender<Result<ProtocolEvent, BrokerFault>>,
) {
    let (seen, mut relaying) = (Seen::default(), JoinSet::new());
    if let Err(fault) = road.open(&mut relaying, &seen).await {
        let _ = forward.send(Err(fault)).await; // fails if nobody waits for it any more
        return;
    }
    let (mut accepted, mut messages) = (false, 0);
    loop {
        let mut event = match &mut event_loop {
            EventLoop::V4(event_loop) => v4::next(event_loop).await,
            EventLoop::V5(event_loop) => v5::next(event_loop).await,
        };
        match &mut event {
            Ok(ProtocolEvent::Accepted(_)) => accepted = true,
            Ok(ProtocolEvent::Received(message)) => {
                messages += 1;
                message.too_large = seen.cut(messages);
            }
            Ok(ProtocolEvent::Disconnected) => {
                drop(event_loop);
                // Only then is DISCONNECT written to the broker. Without it the broker would send the will.
                let _ = timeout(RELAY_LIMIT, relaying.join_next()).await;
                let _ = forward.send(event).await;
                return;
            }
            Ok(_) => {}
            Err(fault) => {
                *fault = explained(fault.clone(), accepted, road.settings.protocol, &seen);
                let BrokerSettings { host, port, .. } = &road.settings;
                if matches!(fault, BrokerFault::NotAccepted(_)) && answers_tls(host, *port, TLS_LIMIT).await {
                    *fault = BrokerFault::Stranger(TLS.to_owned());
                }
            }
        }
        let broken = event.is_err(); // another poll would reconnect, with the messages that rumqttc still has
        if forward.send(event).await.is_err() || broken {
            return;
        }
    }
}

/// The fault that rumqttc reports, with what the relay knows of it.
fn explained(fault: BrokerFault, accepted: bool, protocol: Protocol, seen: &Seen) -> BrokerFault {
    if let Some(stranger) = seen.stranger() {
        return BrokerFault::Stranger(stranger);
    }
    if let Some(bytes) = seen.skipping() {
        return BrokerFault::TooLargeToRead { bytes };
    }
    match fault {
        BrokerFault::Closed if !accepted => BrokerFault::NotAccepted(protocol),
        fault => fault,
    }
}
