//! Finds out which topics a station may publish to, without a message that anybody hears.
//!
//! Only MQTT 5 answers a publish with a reason. A message of QoS 2 is answered (PUBREC) before the sender releases it (PUBREL). Here
//! none is ever released, and the session ends with the connection: a broker that waits for the release throws the message away. A
//! broker may also deliver at once, which MQTT allows. So the topics are tried in the order of the harm that a message could do,
//! each on a connection that listens to the same topic, and the first message that is heard ends the trial.
//! Guarantees: a message that might be heard says nothing false. `heartbeat` and `cmd/trigger/ack` get a message that nobody acts
//! on. `status` gets what the broker keeps there already, or `offline` where it keeps nothing. `last` and `verdict` get a historical
//! abstain, which nobody may act on by the contract, and only after another message was allowed, listened for and not heard.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, Login, Packet, PingReq,
    PubRecReason, Publish, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::broker::BrokerSettings;
use super::link::dial;

/// The largest packet that is read.
const LARGEST: u32 = 1 << 20;

/// How long a message that was delivered at once may take to come, after the broker has answered everything else.
const GRACE: Duration = Duration::from_millis(100);

/// A topic, and a message that does no harm there.
pub(super) struct Harmless {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    /// Whether it may be sent only after another message was allowed, listened for and not heard.
    pub needs_proof: bool,
}

/// What was found out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub allowed: Vec<String>,
    /// Topics that the broker refuses, and why.
    pub refused: Vec<(String, &'static str)>,
    /// Why the rest of the topics was not tried; `None` if all were.
    pub untried: Option<String>,
}

/// What one trial showed.
enum Trial {
    /// `heard`: whether the message came back; `None` if the broker does not let this client listen.
    Allowed {
        heard: Option<bool>,
    },
    Refused(&'static str),
}

/// Tries the topics in this order, each up to `tries` times.
pub(super) async fn try_rights(
    settings: &BrokerSettings,
    topics: Vec<Harmless>,
    limit: Duration,
    tries: u32,
) -> Rights {
    let mut rights = Rights::default();
    let mut proof = false;
    for message in topics {
        if message.needs_proof && !proof {
            rights.untried = Some(format!(
                "the right to publish {} is not known: it can be tried only if this client may read one of the station's other topics",
                message.topic
            ));
            return rights;
        }
        let topic = message.topic.clone();
        let mut tried = Err(String::new());
        for _ in 0..tries {
            tried = timeout(limit, try_one(settings, &message, limit))
                .await
                .unwrap_or_else(|_| Err("the broker has not answered in time".to_owned()));
            if tried.is_ok() {
                break;
            }
        }
        match tried {
            Ok(Trial::Refused(why)) => rights.refused.push((topic, why)),
            Ok(Trial::Allowed { heard }) => {
                rights.allowed.push(topic);
                match heard {
                    Some(false) => proof = true,
                    Some(true) => {
                        rights.untried = Some(
                            "the broker delivers a message before its sender confirms it, so the other topics are not tried"
                                .to_owned(),
                        );
                        return rights;
                    }
                    None => {}
                }
            }
            Err(why) => {
                rights.untried = Some(format!("the rights to publish are not known: {why}"));
                return rights;
            }
        }
    }
    rights
}

/// Tries one topic on a connection of its own. The error says why it cannot be tried.
async fn try_one(settings: &BrokerSettings, message: &Harmless, limit: Duration) -> Result<Trial, String> {
    let stream = dial(&settings.host, settings.port, limit).await.map_err(|fault| fault.to_string())?;
    let mut wire = Wire { stream, read: BytesMut::new() };
    let login =
        settings.credentials.as_ref().map(|login| Login::new(login.username.clone(), login.password.clone()));
    let connect = Connect {
        keep_alive: settings.keep_alive_secs,
        client_id: settings.client_id.clone(),
        clean_start: true,
        properties: None,
    };
    wire.send(Packet::Connect(connect, None, login)).await?;
    let Some(Packet::ConnAck(accepted)) = wire.next().await? else { return Err(NO_MQTT_5.to_owned()) };
    if accepted.code != ConnectReturnCode::Success {
        return Err(NO_MQTT_5.to_owned());
    }
    let said = accepted.properties.as_ref();
    if said.and_then(|said| said.max_qos).is_some() {
        return Err("the broker has no QoS 2, which the trial needs".to_owned());
    }
    let mut subscribe = Subscribe::new(Filter::new(message.topic.clone(), QoS::AtMostOnce), None);
    subscribe.pkid = 1;
    wire.send(Packet::Subscribe(subscribe)).await?;
    let listens = loop {
        match wire.next().await? {
            Some(Packet::SubAck(answer)) => {
                break answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
            }
            Some(_) => {}
            None => return Err("the broker ended the connection after the subscription".to_owned()),
        }
    };
    let payload = Bytes::from(message.payload.clone());
    let mut publish = Publish::new(message.topic.clone(), QoS::ExactlyOnce, payload.clone(), None);
    publish.pkid = 2;
    publish.retain = message.retain;
    wire.send(Packet::Publish(publish)).await?;
    wire.send(Packet::PingReq(PingReq)).await?;
    let (mut answer, mut heard) = (None, false);
    // The broker keeps the order: what it delivers at once comes before its answer to the ping, or right after.
    loop {
        match wire.next().await? {
            Some(Packet::PubRec(received)) => answer = Some(received.reason),
            Some(Packet::Publish(came)) => heard |= !came.retain && came.payload == payload,
            Some(Packet::PingResp(_)) if answer.is_some() => break,
            Some(Packet::Disconnect(ended)) => return Ok(Trial::Refused(dismissal(ended.reason_code))),
            Some(_) => {}
            None => return Err("the broker ended the connection after the message".to_owned()),
        }
    }
    let trial = match answer.and_then(refusal) {
        Some(why) => Trial::Refused(why),
        None => {
            while let Ok(Ok(Some(packet))) = timeout(GRACE, wire.next()).await {
                if let Packet::Publish(came) = packet {
                    heard |= !came.retain && came.payload == payload;
                }
            }
            Trial::Allowed { heard: listens.then_some(heard) }
        }
    };
    // Nothing was released: with the session ends what the broker has of the message.
    let _ = wire.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
    let _ = wire.stream.shutdown().await;
    Ok(trial)
}

const NO_MQTT_5: &str =
    "only MQTT 5 says which topics are forbidden, and the broker does not let this station in with MQTT 5";

fn refusal(reason: PubRecReason) -> Option<&'static str> {
    match reason {
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers => None,
        PubRecReason::NotAuthorized => Some("not authorised"),
        PubRecReason::TopicNameInvalid => Some("topic name invalid"),
        PubRecReason::QuotaExceeded => Some("quota exceeded"),
        PubRecReason::PayloadFormatInvalid => Some("payload format invalid"),
        PubRecReason::UnspecifiedError
        | PubRecReason::ImplementationSpecificError
        | PubRecReason::PacketIdentifierInUse => Some("refused"),
    }
}

fn dismissal(reason: DisconnectReasonCode) -> &'static str {
    match reason {
        DisconnectReasonCode::NotAuthorized => "not authorised",
        DisconnectReasonCode::RetainNotSupported => "the broker keeps no messages",
        _ => "the broker ends the connection",
    }
}

/// Packets of MQTT 5 over a connection.
struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

impl Wire {
    async fn send(&mut self, packet: Packet) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).map_err(|error| error.to_string())?;
        self.stream.write_all(&bytes).await.map_err(broken)
    }

    /// The next packet; `None` at the end of the connection.
    async fn next(&mut self) -> Result<Option<Packet>, String> {
        loop {
            match Packet::read(&mut self.read, Some(LARGEST)) {
                Ok(packet) => return Ok(Some(packet)),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(format!("the broker's answer cannot be read: {error}")),
            }
            if self.stream.read_buf(&mut self.read).await.map_err(broken)? == 0 {
                return Ok(None);
            }
        }
    }
}

fn broken(error: io::Error) -> String {
    format!("the connection broke: {error}")
}
