//! The inspection log: a commit is complete and lasting, and a commit that fails leaves nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certiscope::testing::inspection::{Inspection, Parameters};
use certiscope::testing::publish::json_output::{JSON, encode};
use certiscope::testing::store::{
    Boot, Committed, DeliveryState, Filter, Order, Origin, OutputId, RowId, Store, StoreError,
    StoreErrorKind, StoreThread,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::inspections::{inspection, parameters};

struct Log {
    folder: TempDir,
    parameters: Arc<Parameters>,
}

impl Log {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), parameters: Arc::new(parameters()) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/log.sqlite")
    }

    fn open(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn boot(&self, store: &mut Store, station: &str) -> Origin {
        let origin = Origin { boot_id: Uuid::new_v4(), station: station.into() };
        let boot = Boot {
            started_at: jiff::Timestamp::UNIX_EPOCH,
            version: "0.1.0",
            configuration: "",
            bundle_folder: Path::new("/bundles/made-up"),
            parameters: &self.parameters,
        };
        store.begin(&origin, &boot).unwrap();
        origin
    }

    fn commit(&self, store: &mut Store, origin: &Origin, n: u64) -> Result<Committed, StoreError> {
        store.commit(origin, &inspection(n, &self.parameters), &encode)
    }

    /// A second connection, as a person with `sqlite3` has it.
    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn count(&self, table: &str) -> u32 {
        self.sql().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn each_boot_and_station_counts_from_one_without_a_gap() {
    let log = Log::new();
    let mut store = log.open();
    let (first, second) = (log.boot(&mut store, "a"), log.boot(&mut store, "b"));
    for seq in 1..=5 {
        assert_eq!(log.commit(&mut store, &first, seq).unwrap().seq, seq);
        assert_eq!(log.commit(&mut store, &second, seq).unwrap().seq, seq);
    }
    drop(store);
    let mut store = log.open();
    assert_eq!(log.commit(&mut store, &first, 6).unwrap().seq, 6, "a reopened log goes on");
    let next = log.boot(&mut store, "a");
    assert_eq!(log.commit(&mut store, &next, 7).unwrap().seq, 1);
}

#[test]
fn a_failed_commit_leaves_nothing_and_takes_no_number() {
    let log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    log.commit(&mut store, &origin, 0).unwrap();
    // The last write of the transaction fails, after the inspection was written.
    log.sql()
        .execute_batch(
            "CREATE TRIGGER planted BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'planted'); END",
        )
        .unwrap();
    let error = log.commit(&mut store, &origin, 1).unwrap_err();
    assert!(error.to_string().contains("planted"), "{error}");
    assert_eq!((log.count("inspection"), log.count("outbox")), (1, 1));
    log.sql().execute_batch("DROP TRIGGER planted").unwrap();
    assert_eq!(log.commit(&mut store, &origin, 2).unwrap().seq, 2);
}

#[test]
fn an_inspection_of_an_unknown_boot_is_refused() {
    let log = Log::new();
    let mut store = log.open();
    let stranger = Origin { boot_id: Uuid::new_v4(), station: "a".into() };
    assert!(matches!(log.commit(&mut store, &stranger, 0), Err(StoreError::Sql { .. })));
    assert_eq!((log.count("inspection"), log.count("outbox"), log.count("parameters")), (0, 0, 0));
}

#[test]
fn what_a_recomputation_needs_is_kept_to_the_bit() {
    let log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    log.commit(&mut store, &origin, 4).unwrap();
    log.commit(&mut store, &origin, 7).unwrap(); // a broken picture, nothing drawn
    let wanted = inspection(4, &log.parameters);
    let (seed, scores, batches, radius, captured): (Vec<u8>, Vec<u8>, Vec<u8>, f64, i64) = log
        .sql()
        .query_row(
            "SELECT seed, scores, batches, radius, captured_at_us FROM inspection WHERE seq = 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    assert_eq!(seed, wanted.seed.0);
    let bits: Vec<u32> =
        scores.chunks(4).map(|score| u32::from_le_bytes(score.try_into().unwrap())).collect();
    assert_eq!(bits, wanted.scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>());
    assert_eq!(batches, [2, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(radius.to_bits(), wanted.certificate.unwrap().radius.to_bits());
    assert_eq!(captured, wanted.captured_at.as_microsecond());
    let (threshold, prior, draws): (f64, Vec<u8>, Option<u32>) = log
        .sql()
        .query_row(
            "SELECT threshold, prior, draws FROM inspection JOIN parameters ON parameters.id = parameters_id
             WHERE seq = 2",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((threshold as f32, draws), (log.parameters.threshold, None));
    let prior: Vec<f64> =
        prior.chunks(8).map(|value| f64::from_le_bytes(value.try_into().unwrap())).collect();
    assert_eq!(prior, log.parameters.rule.prior.components().concat());
}

#[test]
fn equal_parameters_share_a_row_and_different_ones_do_not() {
    let mut log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    for n in 0..3 {
        log.commit(&mut store, &origin, n).unwrap(); // no deadline and no recipe: two NULLs are equal here
    }
    assert_eq!(log.count("parameters"), 1);
    log.parameters = Arc::new(Parameters { deadline_ms: Some(250), ..parameters() });
    log.commit(&mut store, &origin, 3).unwrap();
    assert_eq!(log.count("parameters"), 2);
}

#[test]
fn the_outbox_gives_rows_in_order_until_they_are_acknowledged() {
    let log = Log::new();
    let mut store = log.open();
    let (origin, other) = (log.boot(&mut store, "a"), log.boot(&mut store, "b"));
    let rows: Vec<RowId> = (0..6)
        .map(|n| {
            log.commit(&mut store, &other, n).unwrap();
            log.commit(&mut store, &origin, n).unwrap().row
        })
        .collect();
    let waiting = |store: &Store, after, limit| -> Vec<RowId> {
        store
            .outbox_between("a", JSON, after, RowId::END, limit)
            .unwrap()
            .iter()
            .map(|message| message.row)
            .collect()
    };
    assert_eq!(waiting(&store, RowId::START, 4), rows[..4]);
    assert_eq!(waiting(&store, rows[3], 4), rows[4..]);
    assert_eq!(store.backlog("a", JSON).unwrap().oldest, Some(inspection(0, &log.parameters).captured_at));
    store.acknowledged(JSON, &[rows[0], rows[2]]).unwrap();
    drop(store);
    let mut store = log.open();
    assert_eq!(waiting(&store, RowId::START, 9), [rows[1], rows[3], rows[4], rows[5]]);
    assert_eq!(store.backlog("a", JSON).unwrap().oldest, Some(inspection(1, &log.parameters).captured_at));
    store.acknowledged(JSON, &rows).unwrap();
    assert_eq!(
        (store.backlog("a", JSON).unwrap().depth, store.backlog("a", JSON).unwrap().oldest),
        (0, None)
    );
    assert_eq!(store.backlog("b", JSON).unwrap().depth, 6, "another station's rows stay");
    assert_eq!(
        store.newest_message("a", JSON).unwrap().unwrap().row,
        rows[5],
        "the log keeps what was acknowledged"
    );
}

/// Two outputs, as there will be with Sparkplug B or a PLC topic: each has its own messages, rows and refusals.
#[test]
fn an_output_never_touches_the_rows_of_another_one() {
    const BINARY: OutputId = OutputId::new("binary");
    let log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    let both = |_: Uuid, seq: u64, _: &Inspection| {
        vec![(JSON, b"json".to_vec()), (BINARY, vec![0xff, 0, seq as u8])]
    };
    let rows: Vec<RowId> =
        (0..3).map(|n| store.commit(&origin, &inspection(n, &log.parameters), &both).unwrap().row).collect();
    let waiting = |store: &Store, output| -> Vec<(RowId, Vec<u8>)> {
        let rows = store.outbox_between("a", output, RowId::START, RowId::END, 9).unwrap();
        rows.into_iter().map(|message| (message.row, message.payload)).collect()
    };
    store.acknowledged(JSON, &rows).unwrap();
    assert_eq!(waiting(&store, JSON), []);
    let binary: Vec<(RowId, Vec<u8>)> =
        rows.iter().zip(1..).map(|(row, seq)| (*row, vec![0xff, 0, seq])).collect();
    assert_eq!(waiting(&store, BINARY), binary, "what one output has sent, the other still has to send");
    assert_eq!(
        store.delete_rows(RowId::START, 9, None).unwrap().rows,
        0,
        "a row that waits for one output stays"
    );

    store.refused(JSON, rows[0], jiff::Timestamp::UNIX_EPOCH, "acknowledged before").unwrap();
    store.refused(BINARY, rows[2], jiff::Timestamp::UNIX_EPOCH, "quota exceeded").unwrap();
    let counts = |output| {
        let backlog = store.backlog("a", output).unwrap();
        (backlog.depth, backlog.refused, backlog.refusal)
    };
    assert_eq!(counts(JSON), (0, 0, None));
    assert_eq!(counts(BINARY), (3, 1, Some("quota exceeded".to_owned())));
    assert_eq!(store.longest_refused("a", JSON).unwrap(), None);
    assert_eq!(store.longest_refused("a", BINARY).unwrap().unwrap().row, rows[2]);
    assert_eq!(store.newest_message("a", JSON).unwrap().unwrap().payload, b"json");
    assert_eq!(store.newest_message("a", BINARY).unwrap(), None, "the newest one is refused there");
    assert_eq!(store.newest_message("a", OutputId::new("neither")).unwrap(), None);

    let read = certiscope::testing::store::Log::open(&log.path()).unwrap();
    let states: Vec<DeliveryState> =
        read.records(Filter::default(), Order::OldestFirst).map(|record| record.unwrap().delivery).collect();
    assert_eq!(states.len(), 3, "an inspection is one record, however many outputs send it");
    assert_eq!(states[1], DeliveryState::Waiting);
    assert!(matches!(&states[2], DeliveryState::Refused { why, .. } if why == "quota exceeded"));
    store.acknowledged(BINARY, &rows).unwrap();
    assert_eq!(store.delete_rows(RowId::START, 9, None).unwrap().rows, 3);
    assert_eq!(log.count("output_message"), 0, "messages are deleted with their inspection");
}

#[test]
fn the_thread_answers_everybody_and_announces_the_newest_row() {
    let log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    let (thread, handle) = StoreThread::start(store).unwrap();
    let newest = handle.newest_row();
    let seqs: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let part = Arc::new(inspection(0, &log.parameters));
                    (0..10)
                        .map(|_| handle.commit(&origin, Arc::clone(&part), Arc::new(encode)).unwrap().seq)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(seqs.iter().collect::<std::collections::BTreeSet<_>>().len(), 40, "no number given twice");
    assert_eq!(seqs.iter().max(), Some(&40));
    drop(handle);
    thread.join().unwrap();
    let store = log.open();
    assert_eq!(Some(*newest.borrow()), store.newest_message("a", JSON).unwrap().map(|message| message.row));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_what_to_do() {
    let log = Log::new();
    let file = log.folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let error = Store::open(&file.join("log.sqlite")).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("set a folder"), "{error}");
    let folder = Store::open(log.folder.path()).unwrap_err();
    assert!(matches!(folder, StoreError::Unwritable { .. }), "a folder is no log: {folder}");
}

#[test]
fn a_file_system_that_cannot_make_commits_last_is_refused() {
    // SQLite keeps ":memory:" in memory only, and does not report that as an error.
    let error = Store::open(Path::new(":memory:")).unwrap_err();
    std::fs::remove_file(":memory:.lock").unwrap();
    assert!(matches!(error, StoreError::NotDurable { pragma: "journal_mode", .. }), "{error}");
}

#[test]
fn a_log_of_the_first_version_is_brought_up_to_date() {
    let log = Log::new();
    std::fs::create_dir_all(log.path().parent().unwrap()).unwrap();
    let old = log.sql();
    old.execute_batch(include_str!("../../src/store/migrations/0001_inspection_log.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO parameters VALUES (1,'m@1','ab',1,64,64,60,0.04,1.0,0.001,0.02,0.02,200,NULL,x'','cpu','fp32','1.31',NULL);
         INSERT INTO boot VALUES ('b1','a',0,'0.1.0','',1);
         INSERT INTO inspection (boot_id, station, seq, captured_at_us, source_seq, verdict, seed, scores, batches, parameters_id, message)
         VALUES ('b1','a',1,0,1,'normal',zeroblob(32),x'',x'',1,'{}'), ('b1','a',2,0,2,'normal',zeroblob(32),x'',x'',1,'{}');
         INSERT INTO outbox VALUES (2,'a');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let store = log.open();
    assert_eq!(store.backlog("a", JSON).unwrap().depth, 1, "what waited still waits");
    drop(store);
    let last: u32 = log.sql().query_row("SELECT last_seq FROM boot", [], |row| row.get(0)).unwrap();
    assert_eq!(last, 2);
}

/// Not even if all its rows are deleted, and a wrong clock says that it began before boots that have ended.
#[test]
fn the_running_start_is_never_deleted() {
    let log = Log::new();
    let mut store = log.open();
    let earlier = log.boot(&mut store, "a");
    drop(store);
    let future = i64::from(i32::MAX) * 1_000_000;
    log.sql().execute("UPDATE boot SET started_at_us = ?1", [future]).unwrap();
    let mut store = log.open();
    let running = log.boot(&mut store, "a");
    let first = log.commit(&mut store, &running, 0).unwrap();
    store.acknowledged(JSON, &[first.row]).unwrap();
    assert_eq!(store.delete_rows(RowId::START, 10, None).unwrap().rows, 1);
    assert_eq!((log.count("inspection"), log.count("boot")), (0, 1), "{earlier:?} has ended");
    assert_eq!(log.commit(&mut store, &running, 1).unwrap().seq, 2);
}

#[test]
fn a_newer_log_is_refused_and_left_as_it_is() {
    let log = Log::new();
    drop(log.open());
    log.sql().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&log.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, known: 3, .. }), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let version: u32 = log.sql().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do() {
    let log = Log::new();
    let mut store = log.open();
    let origin = log.boot(&mut store, "a");
    for n in 0..50 {
        log.commit(&mut store, &origin, n).unwrap();
    }
    drop(store);
    let whole = std::fs::read(log.path()).unwrap();
    let overwritten = [b"not a database at all, ".repeat(8), whole[184..].to_vec()].concat();
    let mut schema_lost = whole.clone();
    schema_lost[100..4096].fill(0xff);
    for (what, bytes) in
        [("cut off", &whole[..whole.len() / 3]), ("overwritten", &overwritten), ("schema lost", &schema_lost)]
    {
        std::fs::write(log.path(), bytes).unwrap();
        let error = Store::open(&log.path()).map(|_| ()).expect_err(what);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
        assert!(error.to_string().contains("move the file aside"), "{error}");
    }
}
