//! A station as its users run it: the program, a configuration file, pictures in a folder, a broker.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use super::broker::Broker;
use super::faulty::{Part, faulty};
use super::station_config::StationConfig;
use super::subscriber::{Key, Subscriber, key};
use super::{say, wait_until, wait_within};

/// A station with the faulty bundle. It inspects one picture again and again; the test may exchange the picture.
pub(crate) struct Line {
    folder: TempDir,
    pub(crate) broker: Broker,
    pub(crate) reader: Subscriber,
    pub(crate) bundle: PathBuf,
    /// The state folder; some tests mount a separate disk there.
    pub(crate) state: PathBuf,
    /// Lines of configuration, by section, beside the usual ones.
    pub(crate) source: String,
    pub(crate) store: String,
    pub(crate) evidence: String,
    pub(crate) model: String,
    pub(crate) rest: String,
}

impl Line {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("pictures")).unwrap();
        let broker = Broker::start();
        let reader = Subscriber::at(broker.port);
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let line = Self {
            folder,
            broker,
            reader,
            bundle: faulty(),
            state,
            source: String::new(),
            store: "min_free_mb = 0".to_owned(),
            evidence: "keep = \"all\"\nmin_free_mb = 0".to_owned(),
            model: String::new(),
            rest: String::new(),
        };
        line.show(Part::Normal);
        line
    }

    /// Replaces the picture that the station inspects.
    pub(crate) fn show(&self, part: Part) {
        let pictures = self.folder.path().join("pictures");
        let unfinished = part.write(self.folder.path(), "next.png");
        std::fs::rename(unfinished, pictures.join("part.png")).unwrap();
    }

    /// Lets the station answer `/metrics`; returns the port.
    pub(crate) fn serve_metrics(&mut self) -> u16 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.rest = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"");
        port
    }

    pub(crate) fn configure(&self) -> PathBuf {
        let Self { source, rest, model, .. } = self;
        let folder = "kind = \"folder\"\npath = \"pictures\"\nrepeat = true\nframes_per_second = 20.0";
        let usual = StationConfig::new(&self.bundle, self.broker.port, &format!("{folder}\n{source}"));
        let config = StationConfig {
            state: self.state.clone(),
            store: self.store.clone(),
            evidence: self.evidence.clone(),
            broker: format!("{}\n{rest}", usual.broker),
            smoothing: "target_radius = 0.01\nmax_draws = 32\nbatch = 16".to_owned(),
            model: format!("threads = 1\n{model}"),
            ..usual
        };
        config.write(self.folder.path())
    }

    /// Starts the agent and waits for its first verdict.
    pub(crate) fn start(&self) -> Agent {
        self.start_as(&mut Command::new(crate::support::program::path()))
    }

    /// Like `start`, with another command that runs the program, such as `faketime`.
    pub(crate) fn start_as(&self, command: &mut Command) -> Agent {
        let before = self.reader.heard("verdict").len();
        let agent = self.spawn(command);
        wait_until("the agent inspects", || {
            assert!(!agent.has_ended(), "the agent has ended: {}", agent.said());
            self.reader.heard("verdict").len() > before
        });
        agent
    }

    /// Starts an agent that has nothing to inspect at first, and waits until it is online.
    pub(crate) fn start_idle(&self) -> Agent {
        let agent = self.spawn(&mut Command::new(crate::support::program::path()));
        self.wait_status("online", |status| status["state"] == "online");
        agent
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Agent {
        let command = command.args(["run", "--config"]).arg(self.configure());
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Agent::new(command.spawn().unwrap())
    }

    /// Waits until the newest `status` passes the test; returns it.
    pub(crate) fn wait_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut newest = Value::Null;
        wait_until(&format!("status says {what}"), || {
            newest = self.reader.heard("status").pop().map_or(Value::Null, |heard| heard.message);
            wanted(&newest)
        });
        newest
    }

    /// Waits for a new verdict that passes the test; returns it.
    pub(crate) fn wait_verdict(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let before = self.reader.heard("verdict").len();
        let mut found = None;
        wait_until(what, || {
            let verdicts = self.reader.heard("verdict").into_iter().skip(before);
            found = verdicts.map(|heard| heard.message).find(&wanted);
            found.is_some()
        });
        found.expect("waited for")
    }

    pub(crate) fn verdicts_heard(&self) -> usize {
        self.reader.heard("verdict").len()
    }

    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.state.join("certiscope.db")).unwrap()
    }

    /// Checks that the subscriber received every committed verdict, that no boot has a gap, and that nothing else came.
    /// Returns how many verdicts there are.
    pub(crate) fn check_nothing_is_lost(&self) -> usize {
        let database = self.database();
        let mut rows = database.prepare("SELECT boot_id, seq FROM inspection ORDER BY id").unwrap();
        let committed: Vec<Key> = rows
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?.into())))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        self.reader.wait_verdicts(&committed);
        let heard: std::collections::BTreeSet<Key> = self.reader.verdicts().into_keys().collect();
        assert_eq!(heard, committed.iter().cloned().collect(), "heard and committed differ");
        for boot in heard.iter().map(|(boot, _)| boot) {
            let seqs: Vec<u64> = heard.iter().filter(|(of, _)| of == boot).map(|(_, seq)| *seq).collect();
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "a gap");
        }
        committed.len()
    }

    /// Checks that no verdict after the first `before` is `normal`: a fault must never become `normal`.
    pub(crate) fn no_normal_since(&self, before: usize) {
        let verdicts = self.reader.heard("verdict").into_iter().skip(before).map(|heard| heard.message);
        let normal: Vec<Key> =
            verdicts.filter(|verdict| verdict["verdict"] == "normal").map(|verdict| key(&verdict)).collect();
        assert_eq!(normal, [], "a fault became normal");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A running agent; killed with the test.
pub(crate) struct Agent {
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Agent {
    fn new(mut child: Child) -> Self {
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        Self { child: Mutex::new(child), log, reader: Some(reader) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    pub(crate) fn said(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: a bare Debian has no program of that name.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().unwrap();
        assert!(sent.success());
    }

    /// Stops the agent in order, which must succeed.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let (status, said) = self.end();
        assert!(status.success(), "{status}: {said}");
    }

    /// Waits until the agent ends; returns its exit status and what it wrote to stderr.
    pub(crate) fn end(self) -> (ExitStatus, String) {
        self.end_within(Duration::from_secs(30))
    }

    /// The same, with another limit than the usual one.
    pub(crate) fn end_within(mut self, limit: Duration) -> (ExitStatus, String) {
        wait_within(limit, "the agent ends", || self.has_ended());
        self.reader.take().unwrap().join().unwrap();
        let status = self.child.lock().unwrap().wait().unwrap();
        (status, self.said())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.lock().unwrap().kill(); // may have ended
        let _ = self.child.lock().unwrap().wait();
    }
}

/// Prints a line of the table of faults, for people who run the tests with `--nocapture`.
pub(crate) fn report(fault: &str, words: &str) {
    say(&format!("fault  {fault:34} {words}"));
}
