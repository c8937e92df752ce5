//! What nobody needs for the work does not stop the work: standard output and standard error that are full, closed, or never read.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::bundles::{demo_line, simulated};
use crate::support::faulty::{Part, faulty};
use crate::support::line::Line;
use crate::support::program;
use crate::support::station_config::StationConfig;
use crate::support::{skip, wait_within};

/// A running program, killed with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits until it ends.
    fn end(mut self) -> ExitStatus {
        let mut ended = None;
        wait_within(Duration::from_secs(60), "the program ends", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.expect("waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // may have ended
        let _ = self.0.wait();
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader has gone.
fn closed() -> PipeWriter {
    pipe().unwrap().1
}

/// A pipe that is full, with a reader that does not read.
fn unread() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    let (filled, full) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while filler.write_all(&[b'.'; 4096]).is_ok() {
            let _ = filled.send(()); // the test may be over
        }
    });
    // Full when the filler makes no more progress.
    while full.recv_timeout(Duration::from_millis(300)).is_ok() {}
    (reader, writer)
}

/// Starts the station of `line` with these outputs, waits until it inspects, and stops it in order.
fn inspects(line: &Line, output: impl Into<Stdio>, log: impl Into<Stdio>) -> ExitStatus {
    let mut command = Command::new(program::path());
    command.args(["run", "--config"]).arg(line.configure()).env("RUST_LOG", "debug");
    let station = Running::start(command.stdout(output).stderr(log));
    for _ in 0..3 {
        line.wait_verdict("the station inspects", |verdict| verdict["verdict"] == "normal");
    }
    station.signal("TERM");
    station.end()
}

#[test]
fn a_station_inspects_whatever_becomes_of_its_log() {
    let line = Line::new();
    assert_eq!(inspects(&line, Stdio::null(), full()).code(), Some(0), "on a full disk");
    assert_eq!(inspects(&line, Stdio::null(), closed()).code(), Some(0), "its reader has gone");
    let (_reader, log) = unread();
    assert_eq!(inspects(&line, Stdio::null(), log).code(), Some(0), "nobody reads it");
    let (_reader, both) = unread();
    // The summary is a result, and it was not printed.
    assert_eq!(inspects(&line, both.try_clone().unwrap(), both).code(), Some(1), "nobody reads either");
    assert_eq!(inspects(&line, full(), Stdio::null()).code(), Some(1), "the summary on a full disk");
    assert_eq!(inspects(&line, closed(), Stdio::null()).code(), Some(0), "nobody wants the summary");
    line.check_nothing_is_lost();
}

#[test]
fn a_log_that_fills_its_disk_stops_nothing() {
    let line = Line::new();
    let small = line.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=4096", "tmpfs"]).arg(&small).output();
    let mounted = mounted.expect("mount is installed");
    if !mounted.status.success() {
        return skip("mount", String::from_utf8_lossy(&mounted.stderr).trim());
    }
    let ended = inspects(&line, Stdio::null(), File::create(small.join("log")).unwrap());
    let log = std::fs::read(small.join("log")).unwrap();
    let _ = Command::new("umount").arg("--lazy").arg(&small).status();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(log.len(), 4096, "the disk is not full");
}

#[test]
fn the_log_of_inspections_is_no_output() {
    let line = Line::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" run --config \"$1\" <&- >&- 2>&-", program::path()])
        .arg(line.configure());
    let station = Running::start(&mut command);
    line.wait_verdict("the station inspects", |verdict| verdict["verdict"] == "normal");
    for output in 0..=2 {
        let target = std::fs::read_link(format!("/proc/{}/fd/{output}", station.0.id())).unwrap();
        assert_eq!(target, Path::new("/dev/null"), "file {output}");
    }
    station.signal("TERM");
    assert_eq!(station.end().code(), Some(0));
    line.check_nothing_is_lost();
}

#[test]
fn a_log_that_may_grow_no_further_stops_nothing() {
    let line = Line::new();
    let log = line.path().join("log");
    let mut command = Command::new("sh");
    // Room for the database; the log begins beyond it.
    command.args(["-c", "ulimit -f 65536; exec \"$0\" run --config \"$1\" 2>>\"$2\"", program::path()]);
    File::create(&log).unwrap().set_len(65536 * 1024 - 100).unwrap();
    let station = Running::start(command.arg(line.configure()).arg(&log).stdout(Stdio::null()));
    line.wait_verdict("the station inspects", |verdict| verdict["verdict"] == "normal");
    station.signal("TERM");
    assert_eq!(station.end().code(), Some(0));
}

/// What a command needs, and the files that it must have written when it ends.
struct Case {
    name: &'static str,
    arguments: Vec<String>,
    written: Vec<PathBuf>,
    /// Its exit code where everything can be printed.
    code: i32,
}

/// Every command that prints, ready to run in `folder`.
fn cases(folder: &Path) -> Vec<Case> {
    let bundle = |path: &Path| path.to_str().unwrap().to_owned();
    let (demo, faulty) = (bundle(&demo_line()), bundle(&faulty()));
    simulated(&folder.join("set"), 1, 2);
    let picture = Part::Normal.write(folder, "part.png");
    let picture = picture.to_str().unwrap();
    let source = "kind = \"simulator\"\ncount = 2";
    let config = StationConfig::new(&demo_line(), 1, source).write(folder);
    let config = config.to_str().unwrap();
    let case = |name, arguments: &[&str], written: &[&str], code| Case {
        name,
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        written: written.iter().map(|file| folder.join(file)).collect(),
        code,
    };
    vec![
        case("help", &["--help"], &[], 0),
        case("version", &["--version"], &[], 0),
        case("help of a command", &["run", "--help"], &[], 0),
        case(
            "simulate",
            &["simulate", "--out", "OUT", "--train", "1", "--test-per-kind", "1"],
            &["OUT/test/good/0000.png"],
            0,
        ),
        case(
            "collect",
            &["collect", "--source", "simulator", "--count", "2", "--out", "OUT"],
            &["OUT/good/000002.png"],
            0,
        ),
        case(
            "inspect",
            &["inspect", "--bundle", &faulty, "--heat-maps", "OUT", picture],
            &["OUT/part-heatmap.png"],
            0,
        ),
        case("inspect as JSON", &["inspect", "--bundle", &faulty, "--json", picture], &[], 0),
        case("check", &["check", "--config", config], &[], 75),
        case(
            "evaluate",
            &["evaluate", "--bundle", &demo, "--data", "set", "--draws", "2", "--out", "OUT"],
            &["OUT/report.json", "OUT/report.html"],
            0,
        ),
        case("run", &["run", "--config", config], &["state/certiscope.db"], 0),
        case("list", &["inspections", "list", "--config", config], &[], 0),
        case("table", &["inspections", "export", "--config", config], &[], 0),
        case("demo", &["demo", "--seconds", "2", "--state", "OUT"], &[], 0),
    ]
}

impl Case {
    /// Runs it with these outputs; returns its exit code and what it wrote to standard error, if that is kept.
    fn run(
        &self,
        folder: &Path,
        out: &str,
        output: impl Into<Stdio>,
        notes: impl Into<Stdio>,
    ) -> (ExitStatus, String) {
        let arguments = self.arguments.iter().map(|argument| if argument == "OUT" { out } else { argument });
        let mut command = Command::new(program::path());
        let command =
            command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(notes);
        let ran = command.spawn().unwrap().wait_with_output().unwrap();
        for file in &self.written {
            let file = PathBuf::from(file.to_str().unwrap().replace("OUT", out));
            assert!(file.exists(), "{}: its work is not done: no {}", self.name, file.display());
        }
        (ran.status, String::from_utf8(ran.stderr).unwrap())
    }
}

#[test]
fn a_command_does_its_work_whatever_becomes_of_its_outputs() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for case in cases(folder) {
        let name = case.name;
        let (ended, said) = case.run(folder, &format!("{name}-full"), full(), Stdio::piped());
        let failed = if case.code == 0 { 1 } else { case.code };
        assert_eq!(ended.code(), Some(failed), "{name}: {said}");
        assert!(case.code != 0 || said.contains("output: cannot be written"), "{name}: {said}");
        let (ended, said) = case.run(folder, &format!("{name}-closed"), closed(), Stdio::piped());
        assert_eq!(ended.code(), Some(case.code), "{name}: {said}");
        assert!(!said.contains("panic") && !said.contains("roken pipe"), "{name}: {said}");
        for (what, notes) in [("full", Stdio::from(full())), ("closed", Stdio::from(closed()))] {
            let (ended, _) = case.run(folder, &format!("{name}-notes-{what}"), Stdio::null(), notes);
            assert_eq!(ended.code(), Some(case.code), "{name}, standard error {what}");
        }
    }
}

#[test]
fn a_demo_that_nobody_reads_inspects_all_the_same() {
    let folder = TempDir::new().unwrap();
    let (_reader, both) = unread();
    let mut command = Command::new(program::path());
    command.args(["demo", "--seconds", "4", "--rate", "5"]).current_dir(folder.path());
    let demo = Running::start(command.stdout(both.try_clone().unwrap()).stderr(both));
    assert_eq!(demo.end().code(), Some(1), "its results could not be printed");
    let log = rusqlite::Connection::open(folder.path().join("certiscope-demo/certiscope.db")).unwrap();
    let rows: u32 = log.query_row("SELECT count(*) FROM inspection", [], |row| row.get(0)).unwrap();
    assert!(rows > 1, "{rows} inspections");
}

#[test]
fn a_service_manager_that_does_not_read_stops_nothing() {
    let line = Line::new();
    let socket = line.path().join("notify");
    let _manager = UnixDatagram::bind(&socket).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    filler.connect(&socket).unwrap();
    // The system bounds what waits for one reader, and what one sender has waiting; the program is another sender.
    let mut more = vec![filler];
    loop {
        if more.last().expect("one at the least").send(b"WATCHDOG=1").is_ok() {
            continue;
        }
        let next = UnixDatagram::unbound().unwrap();
        next.set_nonblocking(true).unwrap();
        next.connect(&socket).unwrap();
        if next.send(b"WATCHDOG=1").is_err() {
            break;
        }
        more.push(next);
    }
    let mut command = Command::new(program::path());
    let agent = line.start_as(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1000000"));
    line.wait_status("its state goes on", |status| status["verdicts"]["normal"].as_u64() > Some(2));
    agent.stop();
    line.check_nothing_is_lost();
}

/// Panics with the program's panic hook. The test below runs this as a separate process.
#[test]
#[ignore = "ends its process"]
fn child_that_panics() {
    certiscope::testing::cli::end_on_panic();
    panic!("the lens fell off");
}

#[test]
fn a_panic_ends_the_program_though_nobody_reads_its_reason() {
    let (_reader, log) = unread();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", "field::outputs::child_that_panics"]);
    const SIGABRT: i32 = 6;
    let ended = Running::start(child.stdout(Stdio::null()).stderr(log)).end();
    assert_eq!(ended.signal(), Some(SIGABRT), "{ended}");
}

/// As the file systems of USB sticks are (FAT, exFAT): no links, and in some drivers no renaming that replaces nothing.
#[test]
fn a_file_system_without_links_is_enough() {
    let folder = TempDir::new().unwrap();
    let without_links = |arguments: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat,symlink,symlinkat,renameat2"]);
        command.args(["-e", "inject=link,linkat,symlink,symlinkat:error=EPERM"]);
        command.args(["-e", "inject=renameat2:error=EINVAL", program::path()]);
        command.args(arguments).current_dir(folder.path()).output()
    };
    if !without_links(&["--version"]).is_ok_and(|ran| ran.status.success()) {
        return skip("strace", "no system call can be made to fail here (apt-get install strace)");
    }
    let succeeds = |arguments: &[&str]| {
        let ran = without_links(arguments).unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    succeeds(&["collect", "--source", "simulator", "--count", "2", "--out", "good"]);
    succeeds(&["collect", "--source", "simulator", "--count", "2", "--out", "good", "--append"]);
    assert!(folder.path().join("good/good/000004.png").exists());
    succeeds(&["demo", "--seconds", "5", "--state", "state"]);
    succeeds(&["inspections", "export", "--store", "state", "--out", "rows.csv"]);
    succeeds(&["inspections", "export", "--store", "state", "--out", "rows.csv"]);
    assert!(std::fs::read_to_string(folder.path().join("rows.csv")).unwrap().starts_with("boot_id,"));
}
