//! A disk that is low on space, mostly because of other programs: nothing is deleted that does not help, and it is said.
//!
//! The tests mount small disks, which needs root. Some run the program; the others run its retention on a real database and real
//! files, with a clock that the test sets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certiscope::testing::inspection::{Evidence, Parameters};
use certiscope::testing::machine::disk_free_bytes;
use certiscope::testing::publish::json_output::{JSON, encode};
use certiscope::testing::retention::{
    Bounds, DiskRoom, DiskRooms, Moment, Retention, RetentionLimits, RetentionReport, Why,
};
use certiscope::testing::store::{Boot, Origin, RowId, Store, StoreHandle, StoreThread};
use certiscope::testing::verdict::Verdict;
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::inspections::{inspection, parameters};
use crate::support::line::{Line, report};
use crate::support::metrics::{get, metric};
use crate::support::program::{certiscope, run};
use crate::support::{skip, wait_until};

const MB: u64 = 1_000_000;
const STATION: &str = "station1";

/// A small disk mounted on a folder.
struct Disk(PathBuf);

impl Disk {
    /// A disk in memory. `None` without the permission to mount; then the test is skipped.
    fn in_memory(on: &Path, bytes: u64) -> Option<Self> {
        Self::mount(on, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// A file system in a file.
    fn ext4(on: &Path, image: &Path, bytes: u64) -> Option<Self> {
        std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
        // Debian has it in /usr/sbin, which is not in the PATH of every user.
        let made =
            Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin mkfs.ext4 -q \"$0\""]).arg(image).status();
        assert!(made.unwrap().success(), "mkfs.ext4: Debian's package e2fsprogs has it");
        Self::mount(on, &["-o", "loop", image.to_str().unwrap()])
    }

    fn mount(on: &Path, arguments: &[&str]) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(on).output().expect("mount is installed");
        if !mounted.status.success() {
            skip("mount", String::from_utf8_lossy(&mounted.stderr).trim());
            return None;
        }
        Some(Self(on.to_owned()))
    }

    fn free(&self) -> u64 {
        disk_free_bytes(&self.0).unwrap()
    }

    /// Another program writes a file that leaves this much free.
    fn fill_up_to(&self, free: u64) -> PathBuf {
        let file = self.0.join(format!("other-program-{}", Uuid::new_v4()));
        let size = self.free().checked_sub(free).expect("there is more free than is to be left");
        std::fs::write(&file, vec![7; size as usize]).unwrap();
        file
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A log with evidence on a small disk, and its retention.
struct Kept {
    store: StoreHandle,
    thread: StoreThread,
    origin: Origin,
    retention: Retention,
    parameters: Arc<Parameters>,
    runtime: tokio::runtime::Runtime,
    disk: Disk,
    made: u64,
    begun: Instant,
    /// How far the test's clock is ahead.
    ahead: Duration,
    waiting: Vec<RowId>,
    // Removed after the disk was unmounted.
    _folder: TempDir,
}

/// Everything may be kept; the disk must keep this much free.
fn limits(evidence: u64, rows: u64) -> RetentionLimits {
    let bounds = |min_free_bytes| Bounds { days: 9999, bytes: u64::MAX, min_free_bytes };
    RetentionLimits { evidence: bounds(evidence), rows: bounds(rows) }
}

impl Kept {
    fn new(bytes: u64, limits: RetentionLimits) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let on = folder.path().join("state");
        std::fs::create_dir(&on).unwrap();
        Some(Self::on(Disk::in_memory(&on, bytes)?, folder, limits))
    }

    fn on(disk: Disk, folder: TempDir, limits: RetentionLimits) -> Self {
        let mut store = Store::open(&disk.0.join("certiscope.db")).unwrap();
        let origin = Origin { boot_id: Uuid::new_v4(), station: STATION.into() };
        let parameters = Arc::new(parameters());
        let boot = Boot {
            started_at: Timestamp::UNIX_EPOCH,
            version: "0.1.0",
            configuration: "",
            bundle_folder: Path::new("/bundle"),
            parameters: &parameters,
        };
        store.begin(&origin, &boot).unwrap();
        let (thread, store) = StoreThread::start(store).unwrap();
        let retention = Retention::new(store.clone(), disk.0.join("evidence"), limits);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (begun, ahead, waiting) = (Instant::now(), Duration::ZERO, Vec::new());
        Self {
            store,
            thread,
            origin,
            retention,
            parameters,
            runtime,
            disk,
            made: 0,
            begun,
            ahead,
            waiting,
            _folder: folder,
        }
    }

    /// Commits the inspection of one part with so much evidence, captured at this second.
    fn inspect_at(&mut self, second: i64, verdict: Verdict, evidence_bytes: usize) {
        // Every fourth made-up inspection is normal, the next one is anomalous.
        let kind = if verdict == Verdict::Normal { 0 } else { 1 };
        let mut inspection = inspection(4 * self.made + kind, &self.parameters);
        assert_eq!(inspection.verdict, verdict);
        self.made += 1;
        inspection.captured_at = Timestamp::from_second(second).unwrap();
        if evidence_bytes > 0 {
            let name = format!("{}-{}", self.made, verdict.word());
            let folder = self.retention.evidence_folder.join(STATION).join(&name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("frame.png"), vec![1; evidence_bytes]).unwrap();
            inspection.evidence = Some(Evidence { folder: name, bytes: evidence_bytes as u64 });
        }
        let committed = self.store.commit(&self.origin, Arc::new(inspection), Arc::new(encode)).unwrap();
        self.waiting.push(committed.row);
    }

    fn inspect(&mut self, verdict: Verdict, evidence_bytes: usize) {
        self.inspect_at(self.made as i64, verdict, evidence_bytes);
    }

    fn acknowledge(&mut self) {
        let rows = std::mem::take(&mut self.waiting);
        self.runtime.block_on(self.store.acknowledged(JSON, rows)).unwrap();
    }

    fn moment(&self) -> Moment {
        Moment {
            now: Timestamp::UNIX_EPOCH,
            at: self.begun + self.ahead,
            days_count: true,
            disks: DiskRooms {
                state: DiskRoom { free_bytes: Some(self.disk.free()), disk_bytes: None },
                evidence: None,
            },
        }
    }

    /// Steps of retention until it has nothing to do at once. `after_each` is what other programs do after a step.
    fn retain_while(&mut self, mut after_each: impl FnMut(&Disk)) -> &RetentionReport {
        loop {
            let moment = self.moment();
            let step = self.retention.step(&moment).unwrap();
            after_each(&self.disk);
            if !step.did_something() {
                return self.retention.report();
            }
        }
    }

    fn retain(&mut self) -> &RetentionReport {
        self.retain_while(|_| {})
    }

    /// Retention for so long, a step each second.
    fn retain_for(&mut self, seconds: u64) -> &RetentionReport {
        for _ in 0..seconds {
            self.retain();
            self.ahead += Duration::from_secs(1);
        }
        self.retention.report()
    }

    /// How many folders of evidence there are, of normal and of flagged parts.
    fn evidence(&self) -> (usize, usize) {
        let folder = self.retention.evidence_folder.join(STATION).read_dir().unwrap();
        let names: Vec<String> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let normal = names.iter().filter(|name| name.ends_with("-normal")).count();
        (normal, names.len() - normal)
    }

    fn rows(&self) -> usize {
        let log = rusqlite::Connection::open(self.disk.0.join("certiscope.db")).unwrap();
        let rows: u32 = log.query_row("SELECT count(*) FROM inspection", [], |row| row.get(0)).unwrap();
        rows as usize
    }

    fn end(self) {
        drop((self.retention, self.store));
        self.thread.join().unwrap();
    }
}

#[test]
fn another_program_fills_the_disk_and_nothing_is_deleted() {
    let mut line = Line::new();
    let port = line.serve_metrics();
    line.evidence = "keep = \"all\"\nmin_free_mb = 60".to_owned();
    line.store = "min_free_mb = 50".to_owned();
    let Some(disk) = Disk::in_memory(&line.state, 100 * MB) else { return };
    let agent = line.start();
    let rows = |line: &Line| -> i64 {
        line.database().query_row("SELECT count(*) FROM inspection", [], |row| row.get(0)).unwrap()
    };
    let evidence = || line.state.join("evidence/station1").read_dir().unwrap().count();
    line.wait_status("some verdicts", |status| status["verdicts"]["normal"].as_u64() > Some(20));
    let filler = disk.fill_up_to(40 * MB);
    let kept = (rows(&line), evidence());
    assert!(kept.1 > 10);

    let status = line.wait_status("the disk is low", |status| {
        let fills =
            |what: &str| status[what]["reason"].as_str().is_some_and(|why| why.contains("other files fill"));
        status["store"]["state"] == "low_disk" && fills("store") && fills("evidence")
    });
    assert_eq!(status["evidence"]["state"], "paused", "{status}");
    let reason = status["store"]["reason"].as_str().unwrap();
    for words in ["disk low", "MB are free", "store.min_free_mb = 50", "nothing is deleted", "make room"] {
        assert!(reason.contains(words), "no {words:?} in {reason}");
    }
    assert!(status["evidence"]["reason"].as_str().unwrap().contains("evidence.min_free_mb = 60"), "{status}");
    // Some steps of retention later.
    let turns = |status: &serde_json::Value| status["stages"]["retention"]["turns"].as_u64().unwrap();
    let before = turns(&status);
    let status = line.wait_status("some steps later", |status| turns(status) > before + 8);
    assert_eq!(status["store"]["state"], "low_disk", "it is never said to be ok meanwhile: {status}");
    assert!(
        rows(&line) > kept.0 && evidence() >= kept.1,
        "{kept:?}, then {} and {}",
        rows(&line),
        evidence()
    );
    for what in ["evidence", "rows"] {
        let deleted = &status["deleted"][what];
        assert_eq!(
            (&deleted["disk_space"], &deleted["size"], &deleted["age"]),
            (&0.into(), &0.into(), &0.into())
        );
    }
    let answer = get(port, "/metrics");
    assert_eq!(metric(&answer, r#"certiscope_ok{station="station1",of="store"}"#), 0.0);
    assert_eq!(metric(&answer, r#"certiscope_deleted_rows_total{station="station1",by="disk_space"}"#), 0.0);
    let said = agent.said();
    assert_eq!(said.matches("store: low_disk: disk low").count(), 1, "{said}");
    assert_eq!(said.matches("evidence: paused: disk low").count(), 1, "{said}");

    std::fs::remove_file(filler).unwrap();
    line.wait_status("all is well", |status| {
        status["store"]["state"] == "ok" && status["evidence"]["state"] == "ok"
    });
    agent.stop();
    let committed = line.check_nothing_is_lost();
    report(
        "disk filled by others",
        &format!("state low_disk, nothing deleted: {committed} verdicts, 0 lost"),
    );
}

#[test]
fn what_helps_is_deleted_flagged_evidence_last_and_it_is_said() {
    let mut line = Line::new();
    line.evidence = "keep = \"all\"\nmin_free_mb = 20".to_owned();
    let Some(disk) = Disk::in_memory(&line.state, 40 * MB) else { return };
    // Evidence that another run has left, as large as that of a real camera.
    let agent = line.start();
    line.wait_status("some verdicts", |status| status["verdicts"]["normal"].as_u64() > Some(12));
    agent.stop();
    let log = line.database();
    let old: Vec<(i64, String)> = log
        .prepare("SELECT id, evidence FROM inspection WHERE evidence IS NOT NULL ORDER BY id LIMIT 12")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(old.len(), 12);
    for (index, (id, folder)) in old.iter().enumerate() {
        std::fs::write(line.state.join("evidence/station1").join(folder).join("more"), vec![1; 1 << 20])
            .unwrap();
        // The oldest one is of a part that was flagged.
        let verdict = if index == 0 { "anomalous" } else { "normal" };
        log.execute(
            "UPDATE inspection SET evidence_bytes = evidence_bytes + 1048576, verdict = ?2 WHERE id = ?1",
            rusqlite::params![id, verdict],
        )
        .unwrap();
    }
    drop(log);
    disk.fill_up_to(17 * MB);
    let agent = line.start();
    let status = line.wait_status("there is room again", |status| {
        status["deleted"]["evidence"]["disk_space"].as_u64() > Some(2) && status["evidence"]["state"] == "ok"
    });
    assert!(
        status["deleted"]["evidence"]["disk_space"].as_u64() < Some(6),
        "no more than is missing: {status}"
    );
    assert_eq!(status["deleted"]["rows"]["disk_space"], 0, "{status}");
    let is_there = |index: usize| line.state.join("evidence/station1").join(&old[index].1).exists();
    assert!(
        is_there(0) && !is_there(1) && is_there(11),
        "the flagged one goes last, the oldest normal one first"
    );
    let (status, said) = {
        agent.signal("TERM");
        agent.end()
    };
    assert!(status.success(), "{said}");
    let line =
        said.lines().find(|line| line.contains("retention: deleted")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("for less than min_free_mb on the disk: 0 rows and the evidence of"), "{line}");
    assert!(line.contains(" 0 of them flagged"), "{line}");
}

#[test]
fn evidence_of_normal_parts_goes_first_and_only_as_much_as_is_missing() {
    let Some(mut kept) = Kept::new(60 * MB, limits(20 * MB, 0)) else { return };
    for _ in 0..10 {
        kept.inspect(Verdict::Anomalous, 500_000);
        kept.inspect(Verdict::Normal, 500_000);
    }
    kept.acknowledge();
    assert!(kept.retain().low().is_none());
    kept.disk.fill_up_to(18 * MB);
    kept.retain();
    assert!(kept.disk.free() >= 20 * MB);
    assert_eq!(kept.evidence(), (5, 10), "2 MB and a margin of 0.2 MB were missing");
    let report = kept.retain();
    assert!(report.low().is_none());
    let deleted = report.deleted.of(Why::DiskSpace);
    assert_eq!((deleted.evidence, deleted.flagged, deleted.rows), (5, 0, 0));
    assert_eq!(kept.rows(), 20, "no row is deleted");
    kept.end();
}

#[test]
fn a_goal_out_of_reach_deletes_nothing_also_of_evidence_that_waits() {
    let Some(mut kept) = Kept::new(60 * MB, limits(20 * MB, 10 * MB)) else { return };
    for _ in 0..8 {
        kept.inspect(Verdict::Normal, 500_000);
    }
    let filler = kept.disk.fill_up_to(18 * MB);
    // 4 MB of evidence would be enough, but no verdict is acknowledged.
    let (_, why) = kept.retain_for(200).low().cloned().unwrap();
    assert!(why.contains("nothing is deleted") && why.contains("4 MB of evidence"), "{why}");
    assert_eq!((kept.evidence(), kept.rows()), ((8, 0), 8));
    // Acknowledged, but now so little is free that all evidence is too little. Nothing was deleted before, so no limit of a day
    // stops it.
    kept.acknowledge();
    std::fs::remove_file(filler).unwrap();
    let filler = kept.disk.fill_up_to(5 * MB);
    let (_, why) = kept.retain_for(200).low().cloned().unwrap();
    assert!(why.contains("other files fill the disk"), "{why}");
    assert_eq!((kept.evidence(), kept.rows()), ((8, 0), 8));
    // Of 18 MB it is enough.
    std::fs::remove_file(filler).unwrap();
    kept.disk.fill_up_to(18 * MB);
    kept.retain_for(70);
    assert!(kept.disk.free() >= 20 * MB && kept.evidence().0 < 8);
    kept.end();
}

#[test]
fn another_program_that_takes_what_is_freed_gets_one_step_and_no_more() {
    let Some(mut kept) = Kept::new(60 * MB, limits(20 * MB, 0)) else { return };
    for _ in 0..100 {
        kept.inspect(Verdict::Normal, 200_000);
    }
    kept.acknowledge();
    kept.disk.fill_up_to(12 * MB);
    let take = |disk: &Disk| {
        if disk.free() > 12 * MB {
            disk.fill_up_to(12 * MB);
        }
    };
    for _ in 0..600 {
        kept.retain_while(take);
        kept.ahead += Duration::from_secs(1);
    }
    let (_, why) = kept.retain().low().cloned().unwrap();
    assert!(why.contains("were deleted and the disk has hardly more room"), "{why}");
    assert_eq!(kept.evidence().0, 80, "one step");
    // An hour later it would be tried again, but a tenth of the evidence is gone for one day.
    kept.ahead += Duration::from_secs(3600);
    kept.retain_while(take);
    assert_eq!(kept.evidence().0, 80);
    kept.ahead += Duration::from_secs(24 * 3600);
    kept.retain_while(take);
    kept.ahead += Duration::from_secs(11);
    kept.retain_while(take);
    assert_eq!(kept.evidence().0, 60, "one more step on the next day");
    kept.end();
}

#[test]
fn a_program_that_grows_slowly_eats_a_tenth_of_the_evidence_in_a_day() {
    let Some(mut kept) = Kept::new(100 * MB, limits(20 * MB, 0)) else { return };
    for _ in 0..200 {
        kept.inspect(Verdict::Normal, 200_000);
    }
    kept.acknowledge();
    kept.disk.fill_up_to(20 * MB);
    // 0.3 MB each minute: 40 MB of evidence would be gone in two hours.
    for _ in 0..240 {
        let free = kept.disk.free();
        if free > MB {
            kept.disk.fill_up_to(free - 300_000);
        }
        kept.retain_for(2);
        kept.ahead += Duration::from_secs(58);
    }
    assert!((170..=180).contains(&kept.evidence().0), "{} of 200 are left", kept.evidence().0);
    let (_, why) = kept.retain().low().cloned().unwrap();
    assert!(why.contains("other programs take the room"), "{why}");
    kept.end();
}

#[test]
fn what_certiscope_writes_itself_makes_room_for_itself_without_end() {
    let Some(mut kept) = Kept::new(40 * MB, limits(20 * MB, 0)) else { return };
    for part in 0..400 {
        let verdict = if part % 10 == 0 { Verdict::Anomalous } else { Verdict::Normal };
        kept.inspect(verdict, 200_000);
        kept.acknowledge();
        kept.retain_for(2);
        assert!(kept.retain().low().is_none(), "part {part}: {:?}", kept.retain().low());
        kept.ahead += Duration::from_secs(60);
    }
    let (normal, flagged) = kept.evidence();
    assert!(normal > 20 && flagged == 40, "{normal} and {flagged}");
    kept.end();
}

#[test]
fn rows_are_deleted_for_room_only_where_a_tenth_of_the_log_is_enough() {
    let Some(mut kept) = Kept::new(60 * MB, limits(0, 20 * MB)) else { return };
    for _ in 0..4000 {
        kept.inspect(Verdict::Normal, 0);
    }
    kept.acknowledge();
    let stored = kept.store.stored_amount().unwrap();
    let log = stored.rows_bytes;
    assert!(log > 3 * MB && stored.rows_give_room, "{stored:?}");
    // A fifth of the log is missing: nothing.
    let filler = kept.disk.fill_up_to(20 * MB - log / 5);
    assert!(kept.retain_for(70).low().is_some());
    assert_eq!(kept.rows(), 4000);
    // A twentieth is missing.
    std::fs::remove_file(filler).unwrap();
    kept.ahead += Duration::from_secs(60);
    kept.disk.fill_up_to(20 * MB - log / 20);
    kept.retain_for(70);
    let rows = kept.rows();
    assert!((3500..3900).contains(&rows), "{rows} rows are left");
    assert!(kept.disk.free() >= 20 * MB);
    assert_eq!(kept.retain().deleted.of(Why::DiskSpace).rows, 4000 - rows as u64);
    kept.end();
}

#[test]
fn a_log_that_gives_no_room_back_is_not_deleted_for_room() {
    let Some(mut kept) = Kept::new(60 * MB, limits(0, 20 * MB)) else { return };
    for _ in 0..2000 {
        kept.inspect(Verdict::Normal, 0);
    }
    kept.acknowledge();
    let Kept { retention, store, thread, disk, .. } = kept;
    drop((retention, store));
    thread.join().unwrap();
    // As the first version of the log was made.
    let log = rusqlite::Connection::open(disk.0.join("certiscope.db")).unwrap();
    log.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM;").unwrap();
    drop(log);
    let mut kept = Kept::on(disk, TempDir::new().unwrap(), limits(0, 20 * MB));
    let log = kept.store.stored_amount().unwrap();
    assert!(!log.rows_give_room);
    kept.disk.fill_up_to(20 * MB - log.rows_bytes / 20);
    assert!(kept.retain_for(70).low().is_some());
    assert_eq!(kept.rows(), 2000);
    kept.end();
}

#[test]
fn a_disk_smaller_than_its_limit_is_named_and_deletes_nothing() {
    let Some(mut kept) = Kept::new(30 * MB, limits(1000 * MB, 200 * MB)) else { return };
    for _ in 0..4 {
        kept.inspect(Verdict::Normal, 100_000);
    }
    kept.acknowledge();
    let mut moment = kept.moment();
    moment.disks.state.disk_bytes = Some(30 * MB);
    while kept.retention.step(&moment).unwrap().did_something() {}
    let (_, why) = kept.retention.report().low().cloned().unwrap();
    assert!(why.contains("the whole disk has 30 MB") && why.contains("lower min_free_mb"), "{why}");

    // The limit of the log, which the disk could keep to, is missed as well: now other files are what a person can do something about.
    moment.disks.state.disk_bytes = Some(629 * MB);
    let mut said_of_rows = Vec::new();
    loop {
        let goes_on = kept.retention.step(&moment).unwrap().did_something();
        let report = kept.retention.report();
        let words = |low: &Option<(u64, String)>| low.clone().unwrap().1;
        assert!(words(&report.low_for_evidence).contains("the whole disk has 629 MB"));
        said_of_rows.push(words(&report.low_for_rows));
        if !goes_on {
            break;
        }
    }
    assert!(said_of_rows.iter().all(|why| !why.contains("the whole disk")), "{said_of_rows:?}");
    while kept.retention.step(&moment).unwrap().did_something() {}
    let (_, why) = kept.retention.report().low().cloned().unwrap();
    assert!(why.contains("other files fill the disk"), "{why}");
    assert_eq!(kept.evidence().0, 4);
    kept.end();
}

#[test]
fn check_and_the_start_name_a_limit_that_the_disk_can_never_keep_to() {
    let mut line = Line::new();
    line.evidence = "keep = \"all\"\nmin_free_mb = 1000".to_owned();
    line.store = "min_free_mb = 20".to_owned();
    let Some(disk) = Disk::in_memory(&line.state, 40 * MB) else { return };
    let check = |line: &Line| run(certiscope("check").arg("--config").arg(line.configure()));
    let ran = check(&line);
    assert_eq!(ran.code, 78, "{ran:?}");
    let never = "evidence.min_free_mb = 1000: the whole disk has 40 MB";
    assert!(ran.stdout.contains(&format!("wrong      disk: {never}")), "{}", ran.stdout);
    let agent = line.start();
    let status = line.wait_status("evidence is paused", |status| {
        status["evidence"]["reason"].as_str().is_some_and(|why| why.contains("this can never be reached"))
    });
    assert_eq!((&status["evidence"]["state"], &status["store"]["state"]), (&"paused".into(), &"ok".into()));
    assert!(agent.said().contains(never), "{}", agent.said());
    agent.stop();

    // What is only low now is not wrong.
    line.evidence = "keep = \"all\"\nmin_free_mb = 0".to_owned();
    assert!(!check(&line).succeeded().stdout.contains("disk:"));
    disk.fill_up_to(10 * MB);
    let ran = check(&line);
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(
        ran.stdout.contains("store.min_free_mb = 20: the store is low_disk until there is room"),
        "{}",
        ran.stdout
    );
}

#[test]
fn evidence_on_a_disk_by_itself_is_paused_by_that_disk() {
    let mut line = Line::new();
    line.evidence = "keep = \"all\"\nmin_free_mb = 20".to_owned();
    line.store = "min_free_mb = 1".to_owned();
    let evidence = line.state.join("evidence");
    std::fs::create_dir(&evidence).unwrap();
    let Some(disk) = Disk::in_memory(&evidence, 40 * MB) else { return };
    let agent = line.start();
    let kept = || evidence.join("station1").read_dir().unwrap().count();
    wait_until("evidence is kept", || kept() > 3);
    let filler = disk.fill_up_to(10 * MB);
    let status = line.wait_status("evidence is paused", |status| status["evidence"]["state"] == "paused");
    assert_eq!(status["store"]["state"], "ok", "the log is on another disk: {status}");
    let before = kept();
    line.wait_verdict("verdicts go on", |verdict| verdict["verdict"] == "normal");
    assert!(kept() >= before, "nothing is deleted that does not help");
    std::fs::remove_file(filler).unwrap();
    line.wait_status("evidence is kept again", |status| status["evidence"]["state"] == "ok");
    agent.stop();
    line.check_nothing_is_lost();
}

#[test]
fn evidence_is_deleted_on_a_real_file_system_that_gives_room_back_late() {
    let folder = TempDir::new().unwrap();
    let on = folder.path().join("state");
    std::fs::create_dir(&on).unwrap();
    let Some(disk) = Disk::ext4(&on, &folder.path().join("image"), 96 << 20) else { return };
    let mut kept = Kept::on(disk, folder, limits(20 * MB, 0));
    for _ in 0..40 {
        kept.inspect(Verdict::Normal, 500_000);
    }
    kept.acknowledge();
    kept.disk.fill_up_to(15 * MB);
    kept.retain_for(15);
    assert!(kept.disk.free() >= 20 * MB);
    assert!((27..=30).contains(&kept.evidence().0), "{:?}", kept.evidence());
    kept.end();
}

#[test]
fn by_age_only_that_is_deleted_which_is_too_old() {
    let days = |days| Bounds { days, bytes: u64::MAX, min_free_bytes: 0 };
    let limits = RetentionLimits { evidence: days(10), rows: days(20) };
    let Some(mut kept) = Kept::new(30 * MB, limits) else { return };
    const DAY: i64 = 86_400;
    for day in 0..40 {
        kept.inspect_at(day * DAY, Verdict::Normal, 1000);
    }
    // One verdict was refused by the broker for ever: it stays, and must not cost the others.
    kept.waiting.remove(0);
    kept.acknowledge();
    let moment = Moment { now: Timestamp::from_second(40 * DAY).unwrap(), ..kept.moment() };
    for _ in 0..50 {
        while kept.retention.step(&moment).unwrap().did_something() {}
    }
    assert_eq!((kept.evidence().0, kept.rows()), (11, 21), "10 days of evidence, 20 of rows, and what waits");
    let deleted = kept.retention.report().deleted;
    assert_eq!((deleted.of(Why::Age).evidence, deleted.of(Why::Age).rows), (29, 19));
    kept.end();
}

#[test]
fn by_size_the_evidence_of_flagged_parts_goes_last() {
    let bounds = |bytes| Bounds { days: 9999, bytes, min_free_bytes: 0 };
    let limits = RetentionLimits { evidence: bounds(4 * MB), rows: bounds(u64::MAX) };
    let Some(mut kept) = Kept::new(60 * MB, limits) else { return };
    for _ in 0..6 {
        kept.inspect(Verdict::Anomalous, 500_000);
        kept.inspect(Verdict::Normal, 500_000);
    }
    // Too little is acknowledged to get below the limit: nothing is deleted, and it is said.
    let all = std::mem::take(&mut kept.waiting);
    kept.waiting = all[..2].to_vec();
    kept.acknowledge();
    let over = kept.retain_for(5).evidence_over.clone().unwrap();
    assert!(over.contains("evidence.max_mb = 4") && over.contains("waits for the broker"), "{over}");
    assert_eq!(kept.evidence(), (6, 6));
    kept.waiting = all;
    kept.acknowledge();
    kept.retain_for(70);
    assert_eq!(kept.evidence(), (2, 6));
    assert!(kept.retain().evidence_over.is_none());
    assert_eq!(kept.retain().deleted.of(Why::Size).evidence, 4);
    kept.end();
}

#[test]
fn a_log_that_waits_for_the_broker_is_over_its_limit_and_what_is_new_stays() {
    let bounds = |bytes| Bounds { days: 9999, bytes, min_free_bytes: 0 };
    let limits = RetentionLimits { evidence: bounds(u64::MAX), rows: bounds(MB) };
    let Some(mut kept) = Kept::new(60 * MB, limits) else { return };
    for _ in 0..2000 {
        kept.inspect(Verdict::Normal, 0);
    }
    // An outage is over: the newest are acknowledged first.
    let waits = kept.waiting.split_off(1900);
    let waits = std::mem::replace(&mut kept.waiting, waits);
    kept.acknowledge();
    let over = kept.retain_for(5).rows_over.clone().unwrap();
    assert!(over.contains("store.max_mb = 1") && over.contains("wait for the broker"), "{over}");
    assert_eq!(kept.rows(), 2000);
    kept.waiting = waits;
    kept.acknowledge();
    kept.retain_for(70);
    assert!(kept.store.stored_amount().unwrap().rows_bytes <= MB && kept.rows() > 300, "{}", kept.rows());
    assert!(kept.retain().rows_over.is_none() && kept.retain().deleted.of(Why::Size).rows > 0);
    kept.end();
}
