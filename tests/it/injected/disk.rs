//! Disks that are full, refuse writes or hang, and a damaged log. Each test mounts a disk, which needs root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rusqlite::Connection;

use crate::support::faulty::faulty;
use crate::support::line::{Line, report};
use crate::support::metrics::{get, metric};
use crate::support::noise::part;
use crate::support::program::{certiscope, run};
use crate::support::{skip, wait_until};

/// A small disk mounted on a folder.
struct Disk {
    on: PathBuf,
}

impl Disk {
    /// Mounts a disk. `None` without the permission to mount; then the test is skipped.
    fn mount(on: &Path, arguments: &[&str]) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(on).output().expect("mount is installed");
        if !mounted.status.success() {
            skip("mount", String::from_utf8_lossy(&mounted.stderr).trim());
            return None;
        }
        Some(Self { on: on.to_owned() })
    }

    /// A disk in memory of `bytes` bytes.
    fn small(on: &Path, bytes: u32) -> Option<Self> {
        Self::mount(on, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// A file system in a file, for tests that a disk in memory cannot serve.
    fn ext4(on: &Path, image: &Path) -> Option<Self> {
        std::fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
        // Debian has it in /usr/sbin, which is not in the PATH of every user.
        let made =
            Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin mkfs.ext4 -q \"$0\""]).arg(image).status();
        assert!(made.unwrap().success(), "mkfs.ext4: Debian's package e2fsprogs has it");
        Self::mount(on, &["-o", "loop", image.to_str().unwrap()])
    }

    /// Fills the disk with a file.
    fn fill(&self) -> PathBuf {
        let filler = self.on.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.on).status();
    }
}

/// A disk on which every write hangs. The writes continue when this is dropped, also if the test fails, because a program that
/// hangs in a write cannot be killed.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn new(disk: &'a Path) -> Self {
        fsfreeze("--freeze", disk);
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        fsfreeze("--unfreeze", self.0);
    }
}

fn fsfreeze(what: &str, disk: &Path) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "PATH=$PATH:/usr/sbin fsfreeze \"$1\" \"$0\""]).arg(disk).arg(what);
    assert!(shell.status().unwrap().success(), "fsfreeze {what}");
}

#[test]
fn a_full_disk_stops_evidence_then_verdicts_and_loses_none() {
    let line = Line::new();
    let Some(disk) = Disk::small(&line.state, 6 << 20) else { return };
    let agent = line.start();
    let filled = Instant::now();
    let filler = disk.fill();
    let status = line.wait_status("the store is full", |status| status["store"]["state"] == "full");
    let seen = filled.elapsed();
    assert!(status["store"]["reason"].as_str().unwrap().contains("free some space"), "{status}");
    assert_eq!(status["evidence"]["state"], "failing", "evidence stops first: {status}");
    assert!(status["drops"]["evidence"].as_u64().unwrap() > 0);
    let heard = line.verdicts_heard();
    let freed = Instant::now();
    std::fs::remove_file(filler).unwrap();
    line.wait_verdict("a verdict comes again", |verdict| verdict["verdict"] == "normal");
    let recovered = freed.elapsed();
    assert!(line.verdicts_heard() > heard);
    line.wait_status("all is well", |status| {
        status["store"]["state"] == "ok" && status["evidence"]["state"] == "ok"
    });
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "disk full",
        &format!(
            "store full after {seen:.1?}, verdict after room {recovered:.1?}, {committed} verdicts, 0 lost"
        ),
    );
}

#[test]
fn a_stop_while_the_disk_is_full_says_what_could_not_be_written() {
    let line = Line::new();
    let Some(disk) = Disk::small(&line.state, 6 << 20) else { return };
    let agent = line.start();
    disk.fill();
    line.wait_status("the store is full", |status| status["store"]["state"] == "full");
    agent.signal("TERM");
    let (status, said) = agent.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("the inspection of part part.png and those after it could not be written"),
        "{said}"
    );
    assert!(said.contains("the disk is full"), "{said}");
    line.check_nothing_is_lost();
}

#[test]
fn a_low_disk_pauses_evidence_and_no_verdict() {
    let mut line = Line::new();
    line.evidence = "keep = \"all\"\nmin_free_mb = 4".to_owned();
    let Some(disk) = Disk::small(&line.state, 9 << 20) else { return };
    let agent = line.start();
    wait_until("evidence is kept", || evidence(&line) > 0);
    let filler = disk.on.join("filler");
    std::fs::write(&filler, vec![0; 4 << 20]).unwrap();
    let status = line.wait_status("evidence is paused", |status| status["evidence"]["state"] == "paused");
    assert!(status["evidence"]["reason"].as_str().unwrap().contains("evidence.min_free_mb = 4"), "{status}");
    line.wait_verdict("verdicts go on", |verdict| verdict["verdict"] == "normal");
    let before = evidence(&line);
    std::fs::remove_file(filler).unwrap();
    line.wait_status("evidence is kept again", |status| status["evidence"]["state"] == "ok");
    wait_until("evidence is kept", || evidence(&line) > before);
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report("disk low", &format!("evidence paused, verdicts went on: {committed} verdicts, 0 lost"));
}

/// The number of complete evidence folders.
fn evidence(line: &Line) -> usize {
    let folder = std::fs::read_dir(line.state.join("evidence/station1")).unwrap();
    folder.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
}

#[test]
fn a_disk_that_refuses_for_a_while_delays_verdicts() {
    let line = Line::new();
    let Some(_disk) = Disk::ext4(&line.state, &line.path().join("image")) else { return };
    let agent = line.start();
    // Writes to an immutable file fail, also for a program that has it open already.
    let immutable = |flag: &str| {
        let files = ["certiscope.db", "certiscope.db-wal"].map(|name| line.state.join(name));
        assert!(
            Command::new("chattr").arg(flag).args(files).status().expect("chattr is installed").success()
        );
    };
    immutable("+i");
    let status = line.wait_status("the store fails", |status| status["store"]["state"] != "ok");
    assert_eq!(status["store"]["state"], "failing", "{status}");
    let freed = Instant::now();
    immutable("-i");
    line.wait_verdict("a verdict comes again", |verdict| verdict["verdict"] == "normal");
    let recovered = freed.elapsed();
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "disk refuses writes",
        &format!("store failing, verdict after {recovered:.1?}, {committed} verdicts, 0 lost"),
    );
}

#[test]
fn a_disk_that_hangs_is_reported_as_a_state() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    let Some(disk) = Disk::ext4(&line.state, &line.path().join("image")) else { return };
    let agent = line.start();
    let freeze = Frozen::new(&disk.on);
    let frozen = Instant::now();
    line.wait_status("the store is stuck", |status| status["store"]["state"] == "stuck");
    let seen = frozen.elapsed();
    let answer = get(port, "/metrics");
    assert_eq!(metric(&answer, r#"certiscope_ok{station="station1",of="store"}"#), 0.0);
    drop(freeze);
    let thawed = Instant::now();
    line.wait_verdict("a verdict comes again", |verdict| verdict["verdict"] == "normal");
    let recovered = thawed.elapsed();
    line.wait_status("all is well", |status| status["store"]["state"] == "ok");
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "disk hangs",
        &format!("store stuck after {seen:.1?}, verdict after {recovered:.1?}, {committed} verdicts, 0 lost"),
    );
}

#[test]
fn a_read_only_disk_is_refused_at_the_start() {
    let line = Line::new();
    let Some(_disk) = Disk::mount(&line.state, &["-t", "tmpfs", "-o", "ro", "tmpfs"]) else { return };
    let (status, said) = line.spawn(&mut Command::new(crate::support::program::path())).end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("read-only") && said.contains("mount it writable"), "{said}");
    report("disk read-only at the start", "refused, exit 78, with the way out");
}

/// Like a user who may read the folder of a stopped station but not write to it.
#[test]
fn the_log_of_a_stopped_station_is_read_where_nothing_can_be_written() {
    let line = Line::new();
    let Some(disk) = Disk::small(&line.state, 9 << 20) else { return };
    let agent = line.start();
    line.wait_verdict("a verdict", |verdict| verdict["verdict"] == "normal");
    agent.stop();
    let committed = line.check_nothing_is_lost();
    let mounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.on).status().unwrap();
    assert!(mounted.success());
    let listed =
        run(certiscope("inspections").args(["list", "--json", "--store"]).arg(&line.state)).succeeded();
    assert_eq!(listed.stdout.lines().count() as u64, committed as u64);
}

#[test]
fn a_damaged_log_ends_the_agent_with_what_to_do() {
    let mut line = Line::new();
    line.evidence = "keep = \"flagged\"".to_owned();
    line.start().stop();
    let log = line.state.join("certiscope.db");
    // Damages a page in the middle, of an index that no commit of a normal part uses.
    let page: i64 = line
        .database()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'inspection_by_evidence'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[(page as usize - 1) * 4096..][..4096].fill(0xa5);
    std::fs::write(&log, bytes).unwrap();
    let (status, said) = line.spawn(&mut Command::new(crate::support::program::path())).end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("not a sound database") && said.contains("move the file aside"), "{said}");

    // Do what the message says: move the files aside, and start again.
    for name in ["certiscope.db", "certiscope.db-wal", "certiscope.db-shm"] {
        let _ = std::fs::rename(line.state.join(name), line.path().join(name)); // the last two may not be there
    }
    line.start().stop();
    let whole: String =
        Connection::open(&log).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    report("database corrupt", "refused, exit 78, with the way out, which leads out");
}

/// Each picture needs one page of the disk, and the list needs another page every thirty pictures. The test runs on several
/// disks, each one page larger than the one before: some are full in the middle of a picture, some in the middle of a line of
/// the list.
#[test]
fn collecting_onto_a_full_disk_keeps_what_was_written_and_says_so() {
    const PAGE: u32 = 4096;
    let folder = tempfile::TempDir::new().unwrap();
    let [source, out] = ["source", "out"].map(|name| folder.path().join(name));
    for folder in [&source, &out] {
        std::fs::create_dir(folder).unwrap();
    }
    for number in 0..60 {
        part(number).save(source.join(format!("{number}.png"))).unwrap();
    }
    let collect = |count: &str, more: &[&str]| {
        let folder = ["--source", source.to_str().unwrap(), "--count", count, "--out"];
        run(certiscope("collect").args(folder).arg(&out).args(more))
    };
    let (mut within_a_picture, mut within_a_line) = (0, 0);
    for pages in 14..50 {
        let Some(_disk) = Disk::small(&out, pages * PAGE) else { return };
        let ran = collect("60", &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let written = out.join("good").read_dir().unwrap().count();
        assert!(written > 2, "{written} pictures on {pages} pages");
        let kept = format!("the {written} pictures before it are kept");
        for words in ["No space left on device", &kept, "--append goes on"] {
            assert!(ran.stderr.contains(words), "no {words:?} in {}", ran.stderr);
        }
        let list = std::fs::read_to_string(out.join("collect.csv")).unwrap();
        assert_eq!((list.lines().count(), list.ends_with('\n')), (written + 1, true), "{list}");
        assert!((1..=written).all(|number| image::open(out.join(format!("good/{number:06}.png"))).is_ok()));
        // If the disk is full in the middle of a line, the picture of that line was written.
        let room = rustix::fs::statvfs(&out).unwrap().f_bavail;
        *if room > 0 { &mut within_a_line } else { &mut within_a_picture } += 1;

        // After some space is freed, collecting continues.
        for number in 1..=2 {
            std::fs::remove_file(out.join(format!("good/{number:06}.png"))).unwrap();
        }
        collect("1", &["--append"]).succeeded();
        assert!(out.join(format!("good/{:06}.png", written + 1)).exists());
    }
    assert!(within_a_picture > 0 && within_a_line > 0, "{within_a_picture} and {within_a_line}");
    report("disk full while collecting", "exit 1; what was written is whole and stays");
}

#[test]
fn calibrating_onto_a_full_disk_leaves_no_half_bundle() {
    let folder = tempfile::TempDir::new().unwrap();
    let [normal, out] = ["normal", "out"].map(|name| folder.path().join(name));
    for folder in [&normal, &out] {
        std::fs::create_dir(folder).unwrap();
    }
    let Some(disk) = Disk::small(&out, 32 << 10) else { return };
    for number in 0..40 {
        part(number).save(normal.join(format!("{number}.png"))).unwrap();
    }
    let calibrate = || {
        let mut calibrate = certiscope("calibrate");
        calibrate.args(["--false-alarm-rate", "0.05", "--threads", "1", "--bundle"]).arg(faulty());
        run(calibrate.arg("--normal").arg(&normal).arg("--out").arg(out.join("new")))
    };
    let ran = calibrate();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    assert_eq!(out.read_dir().unwrap().count(), 0, "half a bundle is left");
    drop(disk);
    calibrate().succeeded();
    report("disk full while calibrating", "exit 1; no half bundle");
}

#[test]
fn a_second_agent_on_one_log_is_refused() {
    let line = Line::new();
    let agent = line.start();
    let (status, said) = line.spawn(&mut Command::new(crate::support::program::path())).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another agent writes it"), "{said}");
    line.wait_verdict("the first goes on", |_| true);
    agent.stop();
    report("second agent on one log", "exit 1; the first goes on");
}
