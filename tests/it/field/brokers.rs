//! Brokers and their addresses: what they refuse and lack, who else is there, and what people paste into a configuration.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::broker::{Broker, PASSWORD, USER};
use crate::support::faulty::{Part, faulty};
use crate::support::line::{Agent, Line};
use crate::support::packets;
use crate::support::program::{Ran, certiscope, run};
use crate::support::station_config::StationConfig;
use crate::support::subscriber::{Heard, Subscriber};
use crate::support::{skip, wait_until};

const ROOT: &str = "certiscope/certiscope/certiscope/station1";
const TRIGGER: &str = "certiscope/certiscope/certiscope/station1/cmd/trigger";
const PROTOCOLS: [&str; 2] = ["5", "3.1.1"];

/// A station's configuration, for `check`.
struct Site {
    folder: TempDir,
    config: StationConfig,
}

impl Site {
    /// A station that waits for triggers, with these lines in `[broker]`.
    fn new(port: u16, broker: &str) -> Self {
        let folder = TempDir::new().unwrap();
        Part::Normal.write(folder.path(), "part.png");
        let source = "kind = \"folder\"\npath = \".\"\ntrigger = \"triggered\"";
        let mut config = StationConfig::new(&faulty(), port, source);
        config.smoothing = "target_radius = 0.01\nmax_draws = 32\nbatch = 16".to_owned();
        config.broker += &format!("\n{broker}");
        Self { folder, config }
    }

    fn file(&self) -> PathBuf {
        self.config.write(self.folder.path())
    }

    fn check(&self) -> Ran {
        run(certiscope("check").arg("--config").arg(self.file()))
    }

    /// Runs `check`, which must end with this exit code and say these words of the broker.
    fn says(&self, code: i32, words: &[&str]) -> String {
        let ran = self.check();
        let said: Vec<&str> =
            ran.stdout.lines().filter(|line| line.contains("broker")).map(str::trim).collect();
        let said = said.join("\n");
        assert_eq!(ran.code, code, "{ran:?}");
        for words in words {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
        said
    }
}

fn count(agent: &Agent, words: &str) -> usize {
    agent.said().matches(words).count()
}

/// Stations may have the same name on two lines: their topics differ.
#[test]
fn two_stations_of_one_name_stay_connected() {
    let first = Line::new();
    let mut second = Line::new();
    second.broker.port = first.broker.port;
    second.rest = "[topics]\nline = \"other\"".to_owned();
    let (one, two) = (first.start(), first.reader.verdicts().len());
    let other = second.spawn(&mut std::process::Command::new(crate::support::program::path()));
    wait_until("both inspect", || {
        let roots = [&first, &second].map(|line| line.database_rows());
        roots.iter().all(|rows| *rows >= 40) && first.reader.verdicts().len() > two + 60
    });
    for agent in [&one, &other] {
        assert_eq!(count(agent, "connected to the broker"), 1, "{}", agent.said());
        assert_eq!(count(agent, "no connection"), 0, "{}", agent.said());
    }
    let states: Vec<Value> =
        first.reader.heard("status").iter().map(|heard| heard.message["state"].clone()).collect();
    assert!(states.iter().all(|state| state == "online"), "{states:?}");
    one.stop();
    other.stop();
}

/// A configuration that was copied to a second machine: both agents are the same client. The log says so once, and nothing is lost.
#[test]
fn two_agents_with_one_client_id_are_told_once_and_take_turns_slowly() {
    let first = Line::new();
    let mut second = Line::new();
    second.broker.port = first.broker.port;
    let lines = "client_id = \"the-same\"";
    let mut both = [first, second];
    both[0].rest = lines.to_owned();
    both[1].rest = format!("{lines}\n[topics]\nline = \"other\"");
    let start = |line: &Line| line.spawn(&mut std::process::Command::new(crate::support::program::path()));
    let agents = both.each_ref().map(start);
    const TOLD: &str = "another client has the client id the-same";
    wait_until("one of them knows", || agents.iter().any(|agent| count(agent, TOLD) > 0));
    let knows = agents.iter().position(|agent| count(agent, TOLD) > 0).unwrap();
    let [one, two] = agents;
    let (knows, other, line) = if knows == 0 { (one, two, &both[0]) } else { (two, one, &both[1]) };
    let connections = count(&knows, "connected to the broker");
    assert!(connections <= 4, "{connections} connections: {}", knows.said());
    other.stop();
    let boot: String =
        line.database().query_row("SELECT boot_id FROM inspection", [], |row| row.get(0)).unwrap();
    let live = || {
        let heard = both[0].reader.heard("verdict").into_iter();
        heard.filter(|heard| heard.message["boot_id"] == boot && heard.message["historical"] == false).count()
    };
    let before = live();
    wait_until("it has the broker for itself", || live() > before + 10);
    assert_eq!(count(&knows, TOLD), 1, "{}", knows.said());
    knows.stop();
    assert_eq!(line.outbox_rows(), 0);
}

impl Line {
    fn outbox_rows(&self) -> u32 {
        self.database().query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap()
    }

    fn database_rows(&self) -> u32 {
        let rows = || self.database().query_row("SELECT count(*) FROM inspection", [], |row| row.get(0)).ok();
        self.state.join("certiscope.db").exists().then(rows).flatten().unwrap_or(0)
    }
}

fn triggered(protocol: &str) -> Line {
    let mut line = Line::new();
    line.source = "trigger = \"triggered\"".to_owned();
    line.rest = format!("protocol = \"{protocol}\"");
    line
}

fn answers(line: &Line) -> Vec<Value> {
    line.reader.heard("ack").into_iter().map(|heard| heard.message).collect()
}

#[test]
fn a_large_message_that_the_broker_keeps_does_not_keep_the_station_away() {
    for protocol in PROTOCOLS {
        let line = triggered(protocol);
        line.reader.say(TRIGGER, true, vec![b'x'; 3_000_000]);
        wait_until("it is kept", || line.reader.heard("trigger").len() == 1);
        let agent = line.start_idle();
        line.reader.say(TRIGGER, false, r#"{"part_id":"A1"}"#);
        line.reader.wait_heard("verdict", "the trigger is heard", |heard| heard.message["part_id"] == "A1");
        assert_eq!(count(&agent, "no connection"), 0, "MQTT {protocol}: {}", agent.said());
        if protocol == "3.1.1" {
            let said = agent.said();
            assert!(said.contains("has 3000") && said.contains("mosquitto_pub -r -n -t"), "{said}");
        }
        agent.stop();
        assert_eq!(line.check_nothing_is_lost(), 1);
    }
}

#[test]
fn a_trigger_that_is_too_large_is_answered_with_its_size() {
    for protocol in PROTOCOLS {
        let line = triggered(protocol);
        let agent = line.start_idle();
        line.reader.say(TRIGGER, false, vec![b'x'; 500_000]);
        wait_until("it is answered", || answers(&line).len() == 1);
        let answer = &answers(&line)[0];
        assert_eq!(answer["ack"], "refused");
        assert!(answer["reason"].as_str().unwrap().contains("the message has 5000"), "{answer}");
        line.reader.say(TRIGGER, false, r#"{"part_id":"A1"}"#);
        line.reader.wait_heard("verdict", "the next is heard", |heard| heard.message["part_id"] == "A1");
        assert_eq!(count(&agent, "no connection"), 0, "{}", agent.said());
        agent.stop();
    }
}

/// A PLC that repeats its trigger in a loop.
#[test]
fn each_of_a_thousand_triggers_at_once_gets_its_answer() {
    let line = triggered("5");
    let agent = line.start_idle();
    let mut options = rumqttc::MqttOptions::new("plc", "127.0.0.1", line.broker.port);
    options.set_inflight(1000);
    let (client, mut connection) = rumqttc::Client::new(options, 1001);
    for part in 0..1000 {
        client
            .try_publish(TRIGGER, rumqttc::QoS::AtLeastOnce, false, format!("{{\"part_id\":\"{part}\"}}"))
            .unwrap();
    }
    let taken = |event: Result<rumqttc::Event, _>| {
        matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))))
    };
    assert_eq!(connection.iter().filter_map(|event| taken(event).then_some(())).take(1000).count(), 1000);
    wait_until("each is answered", || answers(&line).len() >= 1000);
    let mut parts: Vec<u64> =
        answers(&line).iter().map(|answer| answer["part_id"].as_str().unwrap().parse().unwrap()).collect();
    parts.sort_unstable();
    assert_eq!(parts, (0..1000).collect::<Vec<_>>());
    assert_eq!(count(&agent, "no connection"), 0, "{}", agent.said());
    agent.stop();
    line.check_nothing_is_lost();
}

#[test]
fn check_names_each_topic_that_the_broker_forbids() {
    let broker = Broker::with_access_list("topic read #\ntopic write +/+/+/+/status\n");
    let reader = Subscriber::at(broker.port);
    for protocol in PROTOCOLS {
        let site = Site::new(broker.port, &format!("protocol = \"{protocol}\""));
        let said = site.says(
            78,
            &[
                &format!("refuses messages for {ROOT}/verdict: not authorised; allow client id"),
                &format!("refuses messages for {ROOT}/last: not authorised"),
                &format!("refuses messages for {ROOT}/cmd/trigger/ack: not authorised"),
                &format!("refuses messages for {ROOT}/heartbeat: not authorised"),
                &format!("takes messages for {ROOT}/status"),
            ],
        );
        assert!(said.contains("-check"), "{said}");
    }
    assert!(reader.log().is_empty(), "check was heard: {:?}", reader.log());
    assert!(Subscriber::at(broker.port).log().is_empty(), "check left something behind");
}

#[test]
fn check_names_a_refused_subscription() {
    let broker = Broker::that_refuses_subscription_to(TRIGGER);
    for protocol in PROTOCOLS {
        let site = Site::new(broker.port, &format!("protocol = \"{protocol}\""));
        site.says(78, &[&format!("refuses the subscription to {TRIGGER}")]);
    }
}

#[test]
fn check_names_what_a_broker_lacks() {
    for (option, words) in [
        ("retain_available false", "set broker.retain = false"),
        ("max_qos 0", "QoS 1"),
        ("max_packet_size 1500", "max_packet_size"),
    ] {
        let broker = Broker::with(option);
        for protocol in PROTOCOLS {
            Site::new(broker.port, &format!("protocol = \"{protocol}\"")).says(78, &[words]);
        }
    }
    let few = Broker::with("max_qos 1\nmax_inflight_messages 1");
    Site::new(few.port, "").says(0, &["lets this station in", "has no QoS 2, which the trial needs"]);
}

#[test]
fn a_station_works_without_messages_that_the_broker_keeps() {
    for protocol in PROTOCOLS {
        let mut line = Line::new();
        line.broker = Broker::with("retain_available false");
        line.reader = Subscriber::at(line.broker.port);
        line.rest = format!("protocol = \"{protocol}\"\nretain = false");
        Site::new(line.broker.port, &line.rest).says(0, &["takes its Last Will"]);
        let agent = line.start();
        line.reader.wait_heard("status", "online is said", |heard| heard.message["state"] == "online");
        line.reader.wait_heard("last", "the newest is shown", |_| true);
        agent.signal("KILL");
        line.reader.wait_heard("status", "the will is sent", |heard| heard.message["state"] == "offline");
        assert!(line.reader.log().iter().all(|heard| !heard.retained));
        drop(agent);
        let again = line.start();
        again.stop();
        line.check_nothing_is_lost();
    }
}

/// `check` on a station that works: nobody hears it, and the agent keeps its connection.
#[test]
fn check_disturbs_no_agent_that_runs() {
    for protocol in PROTOCOLS {
        let line = triggered(protocol);
        let agent = line.start_idle();
        let site = Site::new(line.broker.port, &format!("protocol = \"{protocol}\""));
        site.says(0, &["lets this station in as client", &format!("takes messages for {ROOT}/heartbeat, ")]);
        line.reader.say(TRIGGER, false, r#"{"part_id":"A1"}"#);
        line.reader.wait_heard("verdict", "triggers are heard", |heard| heard.message["part_id"] == "A1");
        assert_eq!(count(&agent, "no connection"), 0, "{}", agent.said());
        agent.stop();
        let boot = |heard: &Heard| heard.message["boot_id"].clone();
        let log = line.reader.log();
        let of_agent = boot(&log[0]);
        let strangers: Vec<&Heard> =
            log.iter().filter(|heard| heard.leaf != "trigger" && boot(heard) != of_agent).collect();
        assert!(strangers.is_empty(), "check was heard: {strangers:?}");
        let states = line.reader.heard("status");
        let offline = states.iter().filter(|heard| heard.message["state"] == "offline").count();
        assert_eq!(offline, 0, "check sent a will");
        assert_eq!(line.check_nothing_is_lost(), 1);

        // With the agent's own client id it does take its connection, and the agent comes back.
        let agent = line.start_idle();
        let mut check = certiscope("check");
        let ran = run(check.arg("--take-over").arg("--config").arg(site.file()));
        assert_eq!(ran.code, 0, "{ran:?}");
        wait_until("the agent lost its connection", || count(&agent, "no connection") > 0);
        line.wait_status("online again", |status| status["state"] == "online");
        agent.stop();
    }
}

/// A broker that delivers a message of QoS 2 as soon as it comes, which MQTT allows. It serves one subscriber, the publisher itself.
/// Returns its port, and the topics that were published to.
fn hasty_broker() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            while let Ok(Some(packet)) = packets::read(&mut client) {
                let body =
                    &packet[1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1..];
                let answer: Vec<u8> = match packet[0] >> 4 {
                    1 => vec![0x20, 3, 0, 0, 0],
                    8 => vec![0x90, 4, body[0], body[1], 0, 1],
                    12 => vec![0xd0, 0],
                    3 => {
                        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                        let (topic, rest) = body[2..].split_at(length);
                        log.lock().unwrap().push(String::from_utf8(topic.to_vec()).unwrap());
                        // To the subscriber with QoS 0, without the packet id; then PUBREC to the publisher.
                        let delivered = [&body[..2], topic, &rest[2..]].concat();
                        let mut length = vec![delivered.len() as u8];
                        if delivered.len() > 127 {
                            length = vec![delivered.len() as u8 | 0x80, (delivered.len() >> 7) as u8];
                        }
                        [&[0x30][..], &length, &delivered, &[0x50, 2], &rest[..2]].concat()
                    }
                    _ => break,
                };
                if client.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, heard)
}

#[test]
fn check_publishes_no_verdict_to_a_broker_that_delivers_at_once() {
    let (port, heard) = hasty_broker();
    Site::new(port, "")
        .says(0, &["lets this station in", "unknown", "delivers a message before its sender confirms it"]);
    assert_eq!(*heard.lock().unwrap(), [format!("{ROOT}/heartbeat")]);
}

/// Answers each connection with these bytes, and says no more.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(bytes);
            // Until the client ends it, so that the answer is not lost.
            let _ = client.read(&mut [0; 4096]);
        }
    });
    port
}

/// A broker with a second listener, on the port that is returned, with these lines.
fn second_listener(lines: &str) -> (Broker, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let broker = Broker::with(&format!("listener {port} 127.0.0.1\n{lines}"));
    wait_until("the second listener is there", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (broker, port)
}

#[test]
fn what_is_no_mqtt_broker_is_named() {
    for protocol in PROTOCOLS {
        for (bytes, words) in [
            (&b"\x15\x03\x03\x00\x02\x02\x46"[..], "a TLS listener answers"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server or a websocket listener answers"),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server answers"),
            (b"AMQP\x00\x00\x09\x01", "an AMQP listener"),
            (b"220 plant.example ESMTP\r\n", "220 plant.example ESMTP"),
        ] {
            let site = Site::new(answering(bytes), &format!("protocol = \"{protocol}\""));
            site.says(78, &["wrong", words, "broker.port"]);
        }
        // mosquitto's own websockets.
        let (_broker, port) = second_listener("protocol websockets");
        let site = Site::new(port, &format!("protocol = \"{protocol}\""));
        site.says(78, &["a web server or a websocket listener answers"]);
    }
}

#[test]
fn a_tls_listener_of_a_real_broker_is_named() {
    let folder = TempDir::new().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout".split(' '))
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skip("openssl", "no certificate can be made for a TLS listener");
    }
    let (key, certificate) = (key.display(), certificate.display());
    let lines = format!("cafile {certificate}\ncertfile {certificate}\nkeyfile {key}");
    let (_broker, port) = second_listener(&lines);
    for protocol in PROTOCOLS {
        Site::new(port, &format!("protocol = \"{protocol}\"")).says(78, &["wrong", "TLS"]);
    }
}

#[test]
fn why_a_broker_cannot_be_reached_is_told_apart() {
    let absent = Broker::absent();
    Site::new(absent.port, "").says(75, &[&format!("nothing listens on port {} of 127.0.0.1", absent.port)]);
    let mut site = Site::new(absent.port, "");
    site.config.broker = format!("port = {}", absent.port);
    let text = site.config.text().replace("\"127.0.0.1\"", "\"no-such-broker.invalid\"");
    let file = site.folder.path().join("named.toml");
    std::fs::write(&file, text).unwrap();
    let ran = run(certiscope("check").arg("--config").arg(&file));
    assert_eq!(ran.code, 75, "{ran:?}");
    let told = ["\"no-such-broker.invalid\" is not known", "no name server answers"];
    assert!(told.iter().any(|words| ran.stdout.contains(words)), "{}", ran.stdout);
}

#[test]
fn a_host_that_can_never_be_reached_is_refused_at_once() {
    let broker = Broker::start();
    let site = Site::new(broker.port, "");
    for (host, words) in [
        ("mqtt://127.0.0.1", "write host = \\\"127.0.0.1\\\""),
        ("127.0.0.1:18899", "write port = 18899 in [broker]"),
        ("127.0.0.1 ", "has a blank"),
        ("", "is empty"),
        ("127.0.0.1/mqtt", "has a path"),
        ("192.168.001.010", "no IPv4 address"),
        ("user:hors3@127.0.0.1", "password_file"),
    ] {
        let text = site.config.text().replace("host = \"127.0.0.1\"", &format!("host = \"{host}\""));
        let file = site.folder.path().join("station.toml");
        std::fs::write(&file, text).unwrap();
        for command in ["check", "run"] {
            let ran = run(certiscope(command).arg("--config").arg(&file));
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, 78, "{host:?}: {ran:?}");
            let words = words.replace("\\\"", "\"");
            assert!(said.contains(&words) && said.contains("broker.host"), "{host:?}: {said}");
            assert!(!said.contains("hors3"), "{said}");
        }
    }
}

#[test]
fn a_password_file_is_read_as_editors_write_it() {
    let broker = Broker::with_password();
    let login = format!("username = \"{USER}\"\npassword_file = \"password\"");
    let site = Site::new(broker.port, &login);
    let file = site.folder.path().join("password");
    let utf16 = PASSWORD.encode_utf16().chain([13, 10]).flat_map(u16::to_le_bytes);
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16).collect();
    for bytes in [
        format!("{PASSWORD}\n").into_bytes(),
        format!("\u{feff}{PASSWORD}\r\n").into_bytes(),
        format!("{PASSWORD}\r\n\r\n").into_bytes(),
        utf16,
    ] {
        std::fs::write(&file, bytes).unwrap();
        site.says(0, &["lets this station in"]);
    }
    std::fs::write(&file, format!("{PASSWORD} \n")).unwrap();
    let said = site.says(78, &["refused", "the password in password_file ends with a blank"]);
    assert!(!said.contains("horse"), "{said}");
    for (bytes, words) in [(&b""[..], "is empty"), (b"\r\n", "is empty"), (b"a\nb\n", "has 2 lines")] {
        std::fs::write(&file, bytes).unwrap();
        let ran = site.check();
        assert!(ran.code == 78 && ran.stdout.contains(words), "{ran:?}");
    }
}
