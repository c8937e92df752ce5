//! Starts `certiscope run` and measures how long it takes until the first verdict is on the disk, and the memory.
//!
//! Guarantees: it starts its own program file. It stops the program by the same signal as systemd, and kills it only if
//! that takes too long or the measurement fails. The first verdict is found in the journal, where the program logs it
//! after the commit.
//! Leaves out: a cold disk; library and model are in the page cache by then.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use super::subject::{Subject, Watch};
use crate::cli::Failure;

/// Longer than any start or stop takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a wait checks whether the user wants to stop.
const GLANCE: Duration = Duration::from_millis(100);
/// How many lines of the program's journal are shown when it fails.
const LAST_LINES: usize = 5;

/// The figures of one start.
pub(super) struct ProgramStart {
    pub(super) first_verdict: Duration,
    pub(super) verdicts: u64,
    /// Resident memory after these verdicts, and its largest value until then, in bytes. `None` if the system does not
    /// say.
    pub(super) resident_bytes: Option<u64>,
    pub(super) peak_bytes: Option<u64>,
}

/// Starts the station in the new `folder`, lets it inspect for `lasting` after its first verdict, and stops it.
pub(super) fn measure(
    subject: &Subject,
    folder: &Path,
    lasting: Duration,
    watch: &Watch<'_>,
) -> Result<ProgramStart, Failure> {
    let mut program = Program::start(subject, folder).map_err(Failure::stopped)?;
    let first = program
        .next_verdict(Instant::now() + PATIENCE, watch)?
        .ok_or_else(|| program.failed("gave no verdict"))?;
    let first_verdict = first - program.begun;
    let mut verdicts = 1;
    while program.next_verdict(first + lasting, watch)?.is_some() {
        verdicts += 1;
    }
    let resident_bytes = program.memory("VmRSS:");
    let peak_bytes = program.memory("VmHWM:");
    program.stop(watch)?;
    Ok(ProgramStart { first_verdict, verdicts, resident_bytes, peak_bytes })
}

/// A running `certiscope run`, killed when dropped.
struct Program {
    process: Child,
    begun: Instant,
    /// Its journal, line by line as it is written; it ends with the program.
    log: Receiver<(Instant, String)>,
    last_lines: VecDeque<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill(); // an error means that it has ended
        let _ = self.process.wait();
    }
}

impl Program {
    fn start(subject: &Subject, folder: &Path) -> anyhow::Result<Self> {
        let configuration = folder.join("station.toml");
        std::fs::create_dir(folder)
            .and_then(|()| std::fs::write(&configuration, &subject.configuration))
            .with_context(|| configuration.display().to_string())?;
        let file = std::env::current_exe().context("where this program is")?;
        let begun = Instant::now();
        let mut process = Command::new(&file)
            .arg("run")
            .arg("--config")
            .arg(&configuration)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot be started", file.display()))?;
        let lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let (out, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if out.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, begun, log, last_lines: VecDeque::new() })
    }

    /// When the next verdict was logged; `None` if there was none before `end`.
    fn next_verdict(&mut self, end: Instant, watch: &Watch<'_>) -> Result<Option<Instant>, Failure> {
        while let Some((at, line)) = self.next_line(end, watch)? {
            if line.contains(" seq=") {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The next line of the journal; `None` at its end, or if there was none before `end`.
    fn next_line(&mut self, end: Instant, watch: &Watch<'_>) -> Result<Option<(Instant, String)>, Failure> {
        while Instant::now() < end {
            watch.go_on()?;
            match self.log.recv_timeout(GLANCE) {
                Ok((at, line)) => {
                    self.last_lines.truncate(LAST_LINES - 1);
                    self.last_lines.push_front(line.clone());
                    return Ok(Some((at, line)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }

    /// A value of /proc/PID/status, in bytes.
    fn memory(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?;
        Some(kib.parse::<u64>().ok()? * 1024)
    }

    /// Tells the program to stop, and waits until it has ended.
    fn stop(&mut self, watch: &Watch<'_>) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .context("stopping the started program")
            .map_err(Failure::stopped)?;
        let end = Instant::now() + PATIENCE;
        while self.next_line(end, watch)?.is_some() {}
        if Instant::now() >= end {
            return Err(self.failed("did not stop when it was told to"));
        }
        // Its journal has ended, so the program is about to end.
        let status = self.process.wait().map_err(Failure::stopped)?;
        if status.success() { Ok(()) } else { Err(self.failed(&format!("ended with {status}"))) }
    }

    fn failed(&self, how: &str) -> Failure {
        let log: Vec<&str> = self.last_lines.iter().rev().map(String::as_str).collect();
        Failure::stopped(anyhow!(
            "bench: the started program {how}; the end of its journal:\n{}",
            log.join("\n")
        ))
    }
}
