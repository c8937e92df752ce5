//! The station as a systemd service: what it reports to the service manager, and when it sends no more signs of life.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use certiscope::testing::agent::{self, Stop};
use certiscope::testing::capture::{Trouble, TroubleKind};
use certiscope::testing::config::Config;

use crate::support::broker::Broker;
use crate::support::faulty::Part;
use crate::support::line::{Line, report};
use crate::support::metrics::{get, metric};
use crate::support::scripted::{Now, Script};
use crate::support::service_manager::ServiceManager;
use crate::support::{wait_until, wait_within};

/// The longest time that the manager allows between two signs of life.
const WATCHDOG: Duration = Duration::from_secs(2);
/// Several times `WATCHDOG`: how long a station is observed.
const LONG: Duration = Duration::from_secs(6);
/// Less than the time after which a stage counts as hanging.
const SLOW: Duration = Duration::from_secs(15);

fn program() -> Command {
    Command::new(crate::support::program::path())
}

/// The service manager of this line's station. When the station says that it is ready, its start must be in the log.
fn manager(line: &Line) -> ServiceManager {
    let log = line.state.join("certiscope.db");
    ServiceManager::new(line.path(), move || {
        let boots = rusqlite::Connection::open(&log)
            .and_then(|log| log.query_row("SELECT count(*) FROM boot", [], |row| row.get::<_, u32>(0)));
        boots == Ok(1)
    })
}

/// How often the loop of each stage has run.
fn turns(port: u16) -> [f64; 6] {
    let answer = get(port, "/metrics");
    ["capture", "inference", "record", "store", "publish", "retention"].map(|stage| {
        metric(&answer, &format!(r#"certiscope_stage_turns_total{{station="station1",stage="{stage}"}}"#))
    })
}

/// A station that only waits is not restarted: it sends signs of life, and the loop of every stage runs. The loops are checked
/// because a stage that hangs would stop the signs of life only after `SLOW`.
fn stays_alive(manager: &ServiceManager, port: u16, words: &str) {
    let ready = manager.wait_ready();
    manager.wait(words, |said| said.starts_with("STATUS=") && said.contains(words));
    let before = turns(port);
    wait_until("the loop of every stage goes on", || {
        turns(port).iter().zip(before).all(|(now, before)| *now >= before + 2.0)
    });
    std::thread::sleep(LONG.saturating_sub(ready.elapsed()));
    let silence = manager.longest_silence(ready);
    assert!(silence < WATCHDOG, "no sign of life for {silence:?}");
    report(
        words,
        &format!("alive for {LONG:?}, at most {silence:.1?} between two signs, {WATCHDOG:?} allowed"),
    );
}

#[test]
fn a_station_that_waits_for_triggers_is_ready_and_stays_alive() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    line.source = "trigger = \"triggered\"".to_owned();
    let manager = manager(&line);
    let agent = line.spawn(manager.watch(&mut program(), WATCHDOG));
    stays_alive(
        &manager,
        port,
        "source ok; broker connected; 0 abstain, 0 anomalous, 0 normal; triggers: 0 accepted, 0 busy, 0 missed, 0 refused; 0 in the outbox",
    );
    agent.stop();
    let stopping = manager.wait("it stops", |said| said == "STOPPING=1");
    assert!(
        manager.heard("WATCHDOG=1").into_iter().all(|sign| sign < stopping),
        "fed after the stop was asked for"
    );
    assert_eq!(manager.heard("STOPPING=1").len(), 1);
}

#[test]
fn a_station_without_a_broker_is_ready_and_stays_alive() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    line.broker = Broker::absent();
    let manager = manager(&line);
    let agent = line.spawn(manager.watch(&mut program(), WATCHDOG));
    stays_alive(&manager, port, "source ok; not connected (broker: 127.0.0.1:");
    manager.wait("verdicts are counted", |said| said.contains(" normal; ") && !said.contains(" 0 normal"));
    agent.stop();
}

/// A station whose camera is gone. The test below runs it as another process.
#[test]
#[ignore = "runs until it is killed"]
fn child_whose_camera_is_gone() {
    let config = std::env::var_os("CERTISCOPE_TEST_CONFIG").expect("given by the parent");
    let config = Config::read(Path::new(&config)).unwrap();
    let trouble =
        Trouble { kind: TroubleKind::Lost, reason: "camera: /dev/video9:\nno such device".to_owned() };
    let source = Script::new(Now::Trouble(trouble)).source();
    agent::run_on(&config, source, &Stop::default(), |_| {}).unwrap();
}

/// A process that ends with the test, also when the test fails.
struct KilledAtEnd(Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill(); // fails if the process has ended
        let _ = self.0.wait();
    }
}

#[test]
fn a_station_whose_camera_is_gone_is_ready_and_stays_alive() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    let manager = manager(&line);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "service::child_whose_camera_is_gone"]);
    child.env("CERTISCOPE_TEST_CONFIG", line.configure()).stdout(Stdio::null()).stderr(Stdio::null());
    let _child = KilledAtEnd(manager.watch(&mut child, WATCHDOG).spawn().unwrap());
    stays_alive(&manager, port, "source lost (camera: /dev/video9: no such device); broker connected");
}

#[test]
fn what_is_refused_is_never_ready() {
    let line = Line::new();
    let manager = manager(&line);
    std::fs::remove_dir_all(line.path().join("pictures")).unwrap();
    let (status, said) = line.spawn(manager.watch(&mut program(), WATCHDOG)).end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(manager.heard("READY=1").is_empty());
}

#[test]
fn a_model_call_that_hangs_ends_the_signs_of_life() {
    let mut line = Line::new();
    line.model = "call_limit_ms = 3000".to_owned();
    let manager = manager(&line);
    let agent = line.start_as(manager.watch(&mut program(), WATCHDOG));
    line.show(Part::Hang);
    let hung = Instant::now();
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("model: a call has not returned for 3 s"), "{said}");
    let last = manager.heard("WATCHDOG=1").pop().unwrap();
    assert!(last >= hung, "a call within its limit ends the feeding");
    assert!(last < manager.wait("it stops", |said| said == "STOPPING=1"));
    report("model call hangs", &format!("last sign of life {:.1?} after it, limit 3 s", last - hung));
}

#[test]
fn a_commit_that_hangs_ends_the_signs_of_life_and_is_on_status() {
    let line = Line::new();
    let manager = manager(&line);
    let (library, hang) = (line.path().join("hang.so"), line.path().join("hang"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hang.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(made.expect("a C compiler: SQLite was built by it").success());
    let mut command = program();
    command.env("LD_PRELOAD", &library).env("CERTISCOPE_TEST_HANG", &hang);
    let agent = line.start_as(manager.watch(&mut command, WATCHDOG));

    // A slow disk is reported, and signs of life are still sent.
    let slow = Instant::now();
    std::fs::write(&hang, []).unwrap();
    let status = line.wait_status("the store is stuck", |status| status["store"]["state"] == "stuck");
    assert!(status["store"]["reason"].as_str().unwrap().contains("a write has not returned"), "{status}");
    manager.wait("the status line says it", |said| said.starts_with("STATUS=source ok; store stuck ("));
    std::fs::remove_file(&hang).unwrap();
    line.wait_verdict("a verdict comes again", |verdict| verdict["verdict"] == "normal");
    let (took, silence) = (slow.elapsed(), manager.longest_silence(slow));
    assert!(silence < WATCHDOG, "no sign of life for {silence:?}");

    let hung = Instant::now();
    std::fs::write(&hang, []).unwrap();
    wait_within(Duration::from_secs(60), "the hanging stage is named", || {
        agent.said().contains("watchdog: stage record has hung")
    });
    let seen = hung.elapsed();
    assert!(seen > SLOW, "a commit of {seen:?} is taken for one that hangs");
    let beats = line.reader.heard("heartbeat").len();
    wait_until("there is no sign of life", || manager.longest_silence(hung) > WATCHDOG);
    wait_until("heartbeats go on", || line.reader.heard("heartbeat").len() > beats + 1);
    assert_eq!(manager.heard("WATCHDOG=1").into_iter().filter(|sign| *sign > hung + seen).count(), 0);
    assert!(!agent.said().contains("stage publish has hung"), "{}", agent.said());
    std::fs::remove_file(&hang).unwrap();
    wait_until("the stage goes on", || agent.said().contains("watchdog: stage record works again"));
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "commit hangs",
        &format!(
            "slow for {took:.1?}: alive; hung: signs of life end after {seen:.1?}, {committed} verdicts, 0 lost"
        ),
    );
}
