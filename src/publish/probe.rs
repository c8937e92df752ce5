//! Asks the broker for all that the agent will ask it for, and names what it refuses or lacks. For `certiscope check`.
//!
//! Guarantees: it connects with the same protocol, login, keep-alive, Last Will, subscriptions and rights as the agent. It does not
//! end the agent's connection, unless told to use the agent's client id. It publishes nothing that is false (see `rights`), and
//! ends each connection in order, so that the broker never sends the will. If the machine fails in that moment, the will says what
//! `status` says, or `offline` where that cannot be read.
//! Leaves out: rights to publish, where the broker does not speak MQTT 5: MQTT 3.1.1 has no answer for them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::broker::{BrokerError, BrokerFault, BrokerSettings};
use super::link::{BrokerLimits, Class, IncomingMessage, Letter, Link, LinkEvent};
use super::rights::{Harmless, Rights, try_rights};
use super::topics::Topics;

/// How long a kept message may take to come after the subscription.
const KEPT_LIMIT: Duration = Duration::from_millis(300);

/// A `status` without troubles has about 2 KB, and one with many reasons hardly more than this.
const STATUS_BYTES: usize = 4096;

/// What is asked of the broker.
pub struct Probe<'a> {
    pub broker: &'a BrokerSettings,
    pub topics: &'a Topics,
    /// Whether the line sends triggers.
    pub triggered: bool,
    /// Whether to use the agent's own client id, which ends the connection of an agent that runs.
    pub take_over: bool,
    /// For each connection.
    pub limit: Duration,
}

/// What the broker allows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The client id that was used.
    pub client_id: String,
    /// What is right, for people.
    pub right: Vec<String>,
    /// What the broker refuses or lacks: the station cannot work like this.
    pub wrong: Vec<String>,
    /// What could not be found out.
    pub unknown: Vec<String>,
}

/// What one connection showed.
struct Visit {
    limits: BrokerLimits,
    /// Topics whose subscription was refused, and why.
    refused: Vec<(String, &'static str)>,
    /// The first message that the broker had kept.
    kept: Option<Vec<u8>>,
}

/// Asks the broker. An error: it is not there, or does not let this station in at all.
pub async fn probe(asked: Probe<'_>) -> Result<Probed, BrokerError> {
    let Probe { broker, topics, .. } = asked;
    let own = &broker.client_id;
    let client_id = if asked.take_over { own.clone() } else { format!("{own}-check") };
    let settings = BrokerSettings { client_id: client_id.clone(), ..broker.clone() };
    let failed = |fault| BrokerError::new(&settings, fault);
    // Without a will, first: if this fails, nothing else can work.
    let tries = if asked.take_over { TRIES } else { 1 };
    let visitor = Visitor { limit: asked.limit, tries };
    let first = visitor.visit(&settings, None, &[topics.status()]).await.map_err(failed)?;
    let mut probed = Probed { client_id: client_id.clone(), ..Probed::default() };
    // Whatever the broker keeps there was heard: if it keeps nothing, no agent is online.
    let status_is_known = broker.retain && first.refused.is_empty();
    let will = Will { topic: topics.status(), kept: first.kept.clone() };
    let subscribed = if asked.triggered { vec![topics.trigger()] } else { Vec::new() };
    let limits = match visitor.visit(&settings, Some(will.letter()), &subscribed).await {
        Ok(seen) => {
            probed.right.push("takes its Last Will".to_owned());
            probed.subscriptions(&subscribed, seen.refused, &settings);
            seen.limits
        }
        // It was let in, or has not answered: that is not because of the will.
        Err(fault @ (BrokerFault::Closed | BrokerFault::TakenOver { .. } | BrokerFault::NoAnswer(_))) => {
            return Err(failed(fault));
        }
        Err(fault) => {
            probed.wrong.push(why_no_will(&settings, &will, fault, &visitor).await);
            first.limits
        }
    };
    if limits.packet_bytes < STATUS_BYTES {
        probed.wrong.push(format!(
            "allows messages of at most {} bytes; a verdict has about 800, and `status` may have {STATUS_BYTES}: raise its limit (mosquitto: max_packet_size)",
            limits.packet_bytes
        ));
    }
    if probed.wrong.is_empty() {
        let messages = harmless(&asked, first.kept, status_is_known);
        let rights = try_rights(&settings, messages, asked.limit, tries).await;
        probed.rights(rights, &settings);
    }
    Ok(probed)
}

impl Probed {
    fn subscriptions(
        &mut self,
        wanted: &[String],
        refused: Vec<(String, &'static str)>,
        settings: &BrokerSettings,
    ) {
        if refused.is_empty() {
            self.right.extend(wanted.iter().map(|topic| format!("gives it {topic}")));
        }
        for (topic, why) in refused {
            let who = who(settings);
            self.wrong.push(format!(
                "refuses the subscription to {topic}: {why}; allow {who} to read it, or no trigger is heard"
            ));
        }
    }

    fn rights(&mut self, rights: Rights, settings: &BrokerSettings) {
        if !rights.allowed.is_empty() {
            self.right.push(format!("takes messages for {}", rights.allowed.join(", ")));
        }
        for (topic, why) in rights.refused {
            let who = who(settings);
            self.wrong.push(format!("refuses messages for {topic}: {why}; allow {who} to write it"));
        }
        self.unknown.extend(rights.untried);
    }
}

/// Whom the broker's access rules name.
fn who(settings: &BrokerSettings) -> String {
    match &settings.credentials {
        Some(login) => format!("user {} (client id {})", login.username, settings.client_id),
        None => format!("client id {}", settings.client_id),
    }
}

/// The Last Will of the agent, but for its content.
struct Will {
    topic: String,
    kept: Option<Vec<u8>>,
}

impl Will {
    fn letter(&self) -> Letter {
        let offline = || json!({"v": 1, "state": "offline"}).to_string().into_bytes();
        let mut payload = self.kept.clone().unwrap_or_else(offline);
        // JSON may end with blanks. They make it as long as a `status` may be, which not every broker takes.
        payload.resize(payload.len().max(STATUS_BYTES), b' ');
        Letter { topic: self.topic.clone(), payload, class: Class::Retained }
    }
}

/// Why the broker lets this station in without its Last Will only.
async fn why_no_will(
    settings: &BrokerSettings,
    will: &Will,
    fault: BrokerFault,
    visitor: &Visitor,
) -> String {
    let bytes = will.letter().payload.len();
    if let BrokerFault::Lacks(what) = fault {
        return what;
    }
    if settings.retain {
        let settings = BrokerSettings { retain: false, ..settings.clone() };
        if visitor.visit(&settings, Some(will.letter()), &[]).await.is_ok() {
            return "does not keep messages (retained): set broker.retain = false, or allow it (mosquitto: retain_available)".to_owned();
        }
    }
    let short = Letter { payload: Vec::new(), ..will.letter() };
    let unretained = BrokerSettings { retain: false, ..settings.clone() };
    if visitor.visit(&unretained, Some(short), &[]).await.is_ok() {
        return format!(
            "does not take a Last Will of {bytes} bytes: raise its limit (mosquitto: max_packet_size, message_size_limit)"
        );
    }
    format!(
        "lets this station in only without its Last Will, a message of QoS 1: {fault}; QoS 1 is needed (mosquitto: max_qos)"
    )
}

/// How often a connection is tried with the agent's client id. The agent takes it back each time, after longer and longer waits.
const TRIES: u32 = 6;

/// Makes connections, each within a limit.
struct Visitor {
    limit: Duration,
    tries: u32,
}

impl Visitor {
    async fn visit(
        &self,
        settings: &BrokerSettings,
        will: Option<Letter>,
        topics: &[String],
    ) -> Result<Visit, BrokerFault> {
        let mut left = self.tries;
        loop {
            left -= 1;
            match visit(settings, will.clone(), topics, self.limit).await {
                Err(BrokerFault::Closed | BrokerFault::TakenOver { .. }) if left > 0 => {}
                seen => return seen,
            }
        }
    }
}

/// Connects, subscribes, and disconnects in order.
async fn visit(
    settings: &BrokerSettings,
    will: Option<Letter>,
    topics: &[String],
    limit: Duration,
) -> Result<Visit, BrokerFault> {
    let mut link = Link::<()>::open(settings, limit, will);
    let LinkEvent::Connected(limits) = link.next().await? else {
        return Err(BrokerFault::NoAnswer("something else came before CONNACK"));
    };
    let mut visit = Visit { limits, refused: Vec::new(), kept: None };
    for topic in topics {
        link.subscribe(topic.clone())?;
        let answered = async {
            loop {
                match link.next().await? {
                    LinkEvent::Subscribed => return Ok(None),
                    LinkEvent::SubscribeRefused(why) => return Ok(Some(why)),
                    LinkEvent::Received(message) => visit.kept = visit.kept.take().or(kept(message)),
                    _ => {}
                }
            }
        };
        let answered: Result<_, BrokerFault> =
            timeout(limit, answered).await.map_err(|_| BrokerFault::NoAnswer("no SUBACK in time"))?;
        visit.refused.extend(answered?.map(|why| (topic.clone(), why)));
    }
    let until = Instant::now() + KEPT_LIMIT;
    while !topics.is_empty() && visit.kept.is_none() {
        match tokio::time::timeout_at(until, link.next()).await {
            Err(_) => break,
            Ok(Ok(LinkEvent::Received(message))) => visit.kept = kept(message),
            Ok(event) => drop(event?),
        }
    }
    link.disconnect()?;
    let closed = async {
        while !matches!(link.next().await?, LinkEvent::Closed) {}
        Ok(())
    };
    timeout(limit, closed)
        .await
        .map_err(|_| BrokerFault::NoAnswer("the connection could not be ended"))??;
    Ok(visit)
}

fn kept(message: IncomingMessage) -> Option<Vec<u8>> {
    (message.retained && message.too_large.is_none()).then_some(message.payload)
}

/// For each topic that the agent publishes to, a message that does no harm, in the order of what it could do.
fn harmless(asked: &Probe<'_>, kept: Option<Vec<u8>>, status_is_known: bool) -> Vec<Harmless> {
    let Probe { topics, triggered, broker, .. } = asked;
    let (boot_id, now) = (Uuid::new_v4().to_string(), format!("{:.6}", Timestamp::now()));
    let status = kept.unwrap_or_else(|| json!({"v": 1, "state": "offline"}).to_string().into_bytes());
    let plain = |topic, message: serde_json::Value, needs_proof| Harmless {
        topic,
        payload: message.to_string().into_bytes(),
        retain: false,
        needs_proof,
    };
    let heartbeat = json!({"v": 1, "boot_id": boot_id, "count": 1, "sent_at": now});
    let ack = json!({"v": 1, "boot_id": boot_id, "part_id": null, "meas_id": null, "ack": "refused",
        "reason": "certiscope check tries whether it may publish here", "received_at": now});
    let verdict = json!({"v": 1, "boot_id": boot_id, "check": true, "verdict": "abstain", "pass": 2,
        "pass_certified": false, "historical": true});
    let mut all = vec![plain(topics.heartbeat(), heartbeat, false)];
    if *triggered {
        all.push(plain(topics.trigger_ack(), ack, false));
    }
    all.push(Harmless {
        topic: topics.status(),
        payload: status,
        retain: broker.retain,
        needs_proof: !status_is_known,
    });
    all.push(Harmless { retain: broker.retain, ..plain(topics.last(), verdict.clone(), true) });
    all.push(plain(topics.verdict(), verdict, true));
    all
}
