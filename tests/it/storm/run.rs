//! One run of the storm: plans from a seed what happens, and carries it out.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use certiscope::testing::capture::simulator::{SimulatorSettings, simulate};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use super::witnesses::{self, Findings};
use crate::support::broker::Broker;
use crate::support::bundles::demo_line;
use crate::support::proxy::{Mode, Proxy};
use crate::support::station_config::StationConfig;
use crate::support::subscriber::Subscriber;
use crate::support::{wait_until, wait_within};

/// How long the end of a run may take: long enough to send a refused row again (see `publish::Timing::first_retry`).
const CALM: Duration = Duration::from_secs(150);

/// A fault that the storm injects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    KillAgent,
    KillBroker,
    /// The same while the reader is away: the broker then has messages that it has acknowledged but not passed on.
    KillLadenBroker,
    Cut,
    Stall,
    Deafen,
    Silence,
}

impl Blow {
    pub(super) const ALL: [Self; 7] = [
        Self::KillAgent,
        Self::KillBroker,
        Self::KillLadenBroker,
        Self::Cut,
        Self::Stall,
        Self::Deafen,
        Self::Silence,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::KillAgent => "SIGKILL of the agent",
            Self::KillBroker => "SIGKILL of the broker",
            Self::KillLadenBroker => "SIGKILL of the broker while its reader was away",
            Self::Cut => "link cut",
            Self::Stall => "link stalled",
            Self::Deafen => "link deaf (the agent receives nothing)",
            Self::Silence => "link silent (half-open)",
        }
    }
}

/// A fault, with the pause before it and how long it lasts.
#[derive(Debug)]
struct Step {
    pause: Duration,
    blow: Blow,
    lasts: Duration,
}

/// The plan of a run, made from its seed.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    protocol: &'static str,
    persistent: bool,
    steps: Vec<Step>,
}

impl Plan {
    /// Consecutive seeds alternate between both protocols and both kinds of broker. Each fault happens at least once, in random
    /// order.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut blows = Blow::ALL.to_vec();
        for _ in 0..random.random_range(0..3) {
            blows.extend(Blow::ALL.choose(&mut random));
        }
        blows.shuffle(&mut random);
        let mut milliseconds = |range| Duration::from_millis(random.random_range(range));
        let steps = blows
            .into_iter()
            .map(|blow| Step { pause: milliseconds(50..700), blow, lasts: milliseconds(20..500) })
            .collect();
        let protocol = if seed.is_multiple_of(2) { "3.1.1" } else { "5" };
        Self { seed, protocol, persistent: (seed / 2).is_multiple_of(2), steps }
    }

    pub(super) fn times(&self, blow: Blow) -> usize {
        self.steps.iter().filter(|step| step.blow == blow).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.persistent { "persistent" } else { "forgetful" };
        write!(f, "seed {}: mqtt {}, {kept} broker; kills: ", self.seed, self.protocol)?;
        let broker = self.times(Blow::KillBroker) + self.times(Blow::KillLadenBroker);
        write!(f, "agent {}, broker {broker}; ", self.times(Blow::KillAgent))?;
        let links = [Blow::Cut, Blow::Stall, Blow::Deafen, Blow::Silence];
        write!(f, "links {}", links.iter().map(|blow| self.times(*blow)).sum::<usize>())
    }
}

/// The programs of a run, and the links between them.
struct Storm {
    agent: Agent,
    reader: Subscriber,
    /// Between broker and reader.
    readers_link: Proxy,
    /// Between agent and broker.
    proxy: Proxy,
    broker: Broker,
    folder: Kept,
}

/// Carries out a run, and compares what the log, the proxy and the reader recorded.
pub(super) fn run(plan: &Plan) -> Findings {
    let broker = if plan.persistent { Broker::with_persistence() } else { Broker::start() };
    let readers_link = Proxy::before(broker.port);
    let reader = Subscriber::at(readers_link.port);
    let proxy = Proxy::before(broker.port);
    let folder = Kept::new(plan.seed);
    configure(folder.path(), plan.protocol, proxy.port);
    let agent = Agent::start(folder.path());
    let mut storm = Storm { agent, reader, readers_link, proxy, broker, folder };
    wait_until("the first verdict has arrived", || {
        storm.agent.assert_running();
        !storm.reader.heard("verdict").is_empty()
    });
    for step in &plan.steps {
        sleep(step.pause);
        storm.strike(step);
    }
    storm.calm();
    let Storm { reader, proxy, folder, .. } = storm;
    witnesses::compare(&database(folder.path()), &proxy, &reader)
}

impl Storm {
    /// Injects a fault. When this returns, everything runs again.
    fn strike(&mut self, step: &Step) {
        match step.blow {
            Blow::KillAgent => {
                self.agent.kill();
                sleep(step.lasts);
                let boots = self.boots();
                self.agent = Agent::start(self.folder.path());
                wait_until("the agent inspects again", || self.boots() > boots);
            }
            Blow::KillBroker => self.kill_broker(step.lasts),
            Blow::KillLadenBroker => {
                let acknowledged = self.proxy.answers().len();
                self.readers_link.set(Mode::Closed);
                wait_until("the broker has something to forget", || {
                    self.proxy.answers().len() > acknowledged
                });
                self.kill_broker(step.lasts);
            }
            Blow::Cut => self.proxy.cut(),
            Blow::Stall => self.link(Mode::Stalled, step.lasts),
            Blow::Deafen => self.link(Mode::Deaf, step.lasts),
            Blow::Silence => self.link(Mode::Silent, step.lasts),
        }
    }

    fn link(&self, mode: Mode, lasts: Duration) {
        self.proxy.set(mode);
        sleep(lasts);
        self.proxy.set(Mode::Open);
    }

    /// Lets the agent connect only after the reader has subscribed again. Otherwise the broker could acknowledge messages that
    /// have no reader, and their loss would not be the agent's fault.
    fn kill_broker(&mut self, lasts: Duration) {
        let subscribed = self.reader.subscribed();
        self.broker.kill();
        self.proxy.broker_died();
        self.proxy.set(Mode::Closed);
        sleep(lasts);
        self.broker.come_up();
        self.readers_link.set(Mode::Open);
        self.reader.wait_subscribed(subscribed + 1);
        self.proxy.set(Mode::Open);
    }

    /// How many starts of the agent have committed at least one row.
    fn boots(&self) -> i64 {
        database(self.folder.path())
            .query_row("SELECT count(DISTINCT boot_id) FROM inspection", [], |row| row.get(0))
            .unwrap()
    }

    /// Waits, without faults, until everything is delivered, and something new after it. So the agent is certainly connected when
    /// it is stopped.
    fn calm(&mut self) {
        let database = database(self.folder.path());
        let newest: i64 = database.query_row("SELECT max(id) FROM inspection", [], |row| row.get(0)).unwrap();
        let count = |query| -> i64 { database.query_row(query, [newest], |row| row.get(0)).unwrap() };
        wait_within(CALM, "what waited when the storm ended is acknowledged, and the next", || {
            let older = count("SELECT count(*) FROM outbox WHERE inspection_id <= ?1");
            let newer_in_all = count("SELECT count(*) FROM inspection WHERE id > ?1");
            let newer = count("SELECT count(*) FROM outbox WHERE inspection_id > ?1");
            older == 0 && newer < newer_in_all
        });
        self.agent.stop();
    }
}

/// One picture and many empty files. Empty files need no model call, so verdicts come as fast as the frames.
fn configure(folder: &Path, protocol: &str, port: u16) {
    let settings = SimulatorSettings::default();
    simulate(&folder.join("pictures"), settings, 1, 1, &mut |_, _| {}).unwrap();
    for n in 0..40 {
        std::fs::write(folder.join(format!("pictures/test/good/empty-{n}.png")), []).unwrap();
    }
    let source = "kind = \"folder\"\npath = \"pictures/test/good\"\nrepeat = true\nframes_per_second = 60.0";
    let usual = StationConfig::new(&demo_line(), port, source);
    let config = StationConfig {
        broker: format!(
            "{}\nprotocol = {protocol:?}\nkeep_alive_secs = 5\nbacklog_per_second = 1000",
            usual.broker
        ),
        name: "storm".to_owned(),
        smoothing: "alpha = 0.1\ntarget_radius = 0.0\nmax_draws = 8\nbatch = 8".to_owned(),
        model: "threads = 1".to_owned(),
        ..usual
    };
    config.write(folder);
}

/// A second connection to the log, like that of a person with `sqlite3`.
fn database(folder: &Path) -> Connection {
    let database = Connection::open(folder.join("state/certiscope.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database
}

/// The program, with its log in a file.
struct Agent(Child);

impl Agent {
    fn start(folder: &Path) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("agent.log")).unwrap();
        let child = Command::new(crate::support::program::path())
            .args(["run", "--config"])
            .arg(folder.join("station.toml"))
            .env("RUST_LOG", "certiscope=info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn assert_running(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "the agent ended before it was killed");
    }

    fn kill(&mut self) {
        self.assert_running();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn stop(&mut self) {
        // The `kill` of the shell, since a bare Debian has no program of that name.
        let term = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").arg("-c").arg(term).status().unwrap().success());
        let ended = self.0.wait().unwrap();
        assert!(ended.success(), "the agent ended with {ended}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill(); // fails if the agent has ended; it has not if the run failed
        let _ = self.0.wait();
    }
}

/// The folder of a run. It is kept if the run fails.
struct Kept {
    seed: u64,
    folder: Option<TempDir>,
}

impl Kept {
    fn new(seed: u64) -> Self {
        Self { seed, folder: Some(tempfile::Builder::new().prefix("storm-").tempdir().unwrap()) }
    }

    fn path(&self) -> &Path {
        self.folder.as_ref().expect("until it is dropped").path()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let left: Option<PathBuf> = self.folder.take().map(TempDir::keep);
            super::say(&format!("seed {} failed and left {}", self.seed, left.unwrap_or_default().display()));
        }
    }
}
