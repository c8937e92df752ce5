//! A year of a station in a minute: a real database, real evidence folders, and a clock that the test sets.
//!
//! With 4 verdicts a second there would be 126 million rows. The test makes only `CERTISCOPE_YEAR_ROWS_A_DAY` (60 if not set) a
//! day, and its retention limits are smaller in proportion. The year has an outage that is longer than the limits.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use certiscope::testing::capture::{Channels, Frame, Picture, Samples, Stamp};
use certiscope::testing::evidence::{self, Keep};
use certiscope::testing::inspector::Inspected;
use certiscope::testing::machine::resident_bytes;
use certiscope::testing::publish::json_output::{JSON, encode};
use certiscope::testing::retention::{Bounds, DiskRooms, Moment, Retention, RetentionLimits, sweep};
use certiscope::testing::store::{Boot, Origin, RowId, Store, StoreHandle, StoreThread};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::inspections::{inspection, parameters};
use crate::support::say;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A time at which the clock is right and the disk says nothing.
fn moment(now: Timestamp) -> Moment {
    Moment { now, at: Instant::now(), days_count: true, disks: DiskRooms::default() }
}

/// The size of all files below a folder, in bytes.
fn bytes_below(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.path().is_dir() { bytes_below(&entry.path()) } else { entry.metadata().unwrap().len() }
        })
        .sum()
}

/// A station that commits at given times.
struct Station {
    folder: TempDir,
    store: StoreHandle,
    thread: StoreThread,
    origin: Origin,
    retention: Retention,
    runtime: tokio::runtime::Runtime,
    unacknowledged: Vec<RowId>,
    made: u64,
}

impl Station {
    fn new(limits: RetentionLimits) -> Self {
        // In memory if there is such a disk, since the test does not measure the cost of a sync.
        let folder = TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap());
        let mut store = Store::open(&folder.path().join("certiscope.db")).unwrap();
        let origin = Origin { boot_id: Uuid::new_v4(), station: "station1".into() };
        let boot = Boot {
            started_at: Timestamp::UNIX_EPOCH,
            version: "0.1.0",
            configuration: "",
            bundle_folder: Path::new("/bundle"),
            parameters: &parameters(),
        };
        store.begin(&origin, &boot).unwrap();
        let (thread, store) = StoreThread::start(store).unwrap();
        let evidence = folder.path().join("evidence");
        std::fs::create_dir_all(evidence.join("station1")).unwrap();
        let retention = Retention::new(store.clone(), evidence, limits);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { folder, store, thread, origin, retention, runtime, unacknowledged: Vec::new(), made: 0 }
    }

    /// Commits the inspection of one part captured at this time, with evidence if it is wanted.
    fn inspect(&mut self, at: Timestamp) {
        let mut inspection = inspection(self.made, &Arc::new(parameters()));
        inspection.captured_at = at;
        inspection.seed.0[..8].copy_from_slice(&self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        self.made += 1;
        let wanted = Keep::OneInN(20.try_into().unwrap()).wants(inspection.verdict, inspection.seed);
        let mut inspected = Inspected { inspection, input: None, heat_map: None };
        if wanted {
            let frame = Frame {
                source_seq: self.made,
                captured_at: Stamp::now(),
                part_id: None,
                meas_id: None,
                picture: Ok(Picture {
                    width: 16,
                    height: 16,
                    channels: Channels::Grey,
                    samples: Samples::Eight((0..=255).collect()),
                }),
                encoded: None,
                truth: None,
            };
            let folder = self.retention.evidence_folder.join("station1");
            let kept = evidence::keep(&folder, &self.made.to_string(), &frame, &inspected).unwrap();
            inspected.inspection.evidence = Some(kept);
        }
        let committed =
            self.store.commit(&self.origin, Arc::new(inspected.inspection), Arc::new(encode)).unwrap();
        assert_eq!(committed.seq, self.made, "numbers go on whatever was deleted");
        self.unacknowledged.push(committed.row);
    }

    fn acknowledge(&mut self) {
        let rows = std::mem::take(&mut self.unacknowledged);
        self.runtime.block_on(self.store.acknowledged(JSON, rows)).unwrap();
    }

    fn retain(&mut self, moment: &Moment) {
        while self.retention.step(moment).unwrap().did_something() {}
    }

    fn waiting(&self) -> u64 {
        self.runtime.block_on(self.store.backlog(&self.origin.station, JSON)).unwrap().depth
    }

    fn end(self) -> TempDir {
        drop((self.retention, self.store));
        self.thread.join().unwrap();
        self.folder
    }
}

#[test]
fn a_year_ends_with_a_bounded_log_bounded_evidence_and_flat_memory() {
    let a_day: i64 = std::env::var("CERTISCOPE_YEAR_ROWS_A_DAY").map_or(60, |rows| rows.parse().unwrap());
    let limits = RetentionLimits {
        rows: Bounds { days: 30, bytes: a_day as u64 * 40_000, min_free_bytes: 0 },
        evidence: Bounds { days: 90, bytes: a_day as u64 * 7_000, min_free_bytes: 0 },
    };
    let mut station = Station::new(limits);
    let outage = 200..245; // longer than rows are kept
    let (mut largest, mut memory) = (0, Vec::new());
    for day in 0..365_i64 {
        for part in 0..a_day {
            let now = Timestamp::UNIX_EPOCH + DAY * day as i32 + DAY * part as i32 / a_day as i32;
            station.inspect(now);
            if part % 20 == 0 && !outage.contains(&day) {
                station.acknowledge();
            }
            if part % 10 == 0 {
                station.retain(&moment(now));
            }
        }
        if outage.contains(&day) {
            assert!(
                station.waiting() >= (day - outage.start) as u64 * a_day as u64,
                "a row that waits is gone"
            );
            continue;
        }
        let held = station.store.stored_amount().unwrap();
        let age = Timestamp::UNIX_EPOCH + DAY * (day as i32 + 1) - held.oldest_row.unwrap();
        assert!(day < 31 || age.get_hours() <= 32 * 24, "day {day}: rows of {age:#} ago");
        assert!(held.evidence_bytes <= limits.evidence.bytes + 50_000, "day {day}: {held:?}");
        if day > 60 {
            largest = largest.max(bytes_below(station.folder.path()));
            memory.extend(resident_bytes());
        }
    }
    let held = station.store.stored_amount().unwrap();
    let folder = station.end();
    let on_disk = bytes_below(&folder.path().join("evidence"));
    assert_eq!(on_disk, held.evidence_bytes, "files and log agree");
    let again = StoreThread::start(Store::open(&folder.path().join("certiscope.db")).unwrap()).unwrap().1;
    assert_eq!(again.stored_amount().unwrap().evidence_bytes, on_disk, "summed up again");
    // One log, one write-ahead log that is cut back, the evidence.
    assert!(
        largest <= 2 * limits.rows.bytes + (20 << 20) + limits.evidence.bytes,
        "{largest} bytes on the disk"
    );
    let (first, last) = (memory[0], *memory.last().unwrap());
    assert!(last < first + (24 << 20), "memory grew from {first} to {last} bytes");
    say(&format!(
        "a year of {} rows: at most {} kB on the disk, evidence {} kB, memory {} to {} MB",
        365 * a_day,
        largest / 1000,
        on_disk / 1000,
        first >> 20,
        last >> 20
    ));
}

#[test]
fn a_clock_that_cannot_be_trusted_deletes_nothing_by_age() {
    let bounds = Bounds { days: 1, bytes: u64::MAX, min_free_bytes: 0 };
    let mut station = Station::new(RetentionLimits { rows: bounds, evidence: bounds });
    for _ in 0..8 {
        station.inspect(Timestamp::UNIX_EPOCH);
    }
    station.acknowledge();
    let later = Moment { days_count: false, ..moment(Timestamp::UNIX_EPOCH + DAY * 400) };
    station.retain(&later);
    let held = station.store.stored_amount().unwrap();
    assert!(held.oldest_row.is_some() && held.oldest_evidence.is_some());
    station.retain(&Moment { days_count: true, ..later });
    let held = station.store.stored_amount().unwrap();
    assert_eq!((held.oldest_row, held.oldest_evidence), (None, None));
    station.end();
}

#[test]
fn what_a_crash_left_behind_is_deleted_and_nothing_else() {
    let bounds = Bounds { days: 9999, bytes: u64::MAX, min_free_bytes: 0 };
    let mut station = Station::new(RetentionLimits { rows: bounds, evidence: bounds });
    (0..4).for_each(|_| station.inspect(Timestamp::UNIX_EPOCH));
    let folder = station.retention.evidence_folder.join("station1");
    let named = std::fs::read_dir(&folder).unwrap().count();
    for left in
        ["20260101T000000-dead-7-abstain", ".20260101T000001-dead-8-abstain", "20260101T000002-live-9-normal"]
    {
        std::fs::create_dir(folder.join(left)).unwrap();
    }
    let Retention { store, evidence_folder, .. } = &station.retention;
    assert_eq!(sweep(store, evidence_folder, "station1", "live", || true).unwrap(), 2);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), named + 1);
    station.end();
}
