//! The open inspection log: how it is opened, brought up to date, and how an inspection is committed.
//!
//! Guarantees: [`Store::commit`] writes inspection, sequence number, messages and outbox rows in one transaction, or nothing
//! at all. When it returns, the transaction is on the disk (WAL and `synchronous = FULL`, both read back when the log is
//! opened). `seq` counts from 1 for each boot and station without a gap, because it is assigned inside that transaction. An
//! outbox row is deleted only by [`Store::acknowledged`]. One agent at a time writes a log (a lock file beside it ensures
//! that); other programs may read it.
//! Leaves out: clocks; the caller passes every time.
//! Costs: one sync of the disk for each commit (`certiscope bench` measures it).

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::encoder::EncodeMessages;
use super::error::StoreError;
use super::identity::{Boot, Committed, Origin, RowId};
use super::inspection_row;
use super::migrations;
use crate::inspection::{Inspection, Parameters};
use crate::stop;

/// How long a commit waits for another process that has locked the file (a person with `sqlite3`, a backup).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Parameters whose rows are remembered: more than a process has stations.
const MOST_PARAMETERS: usize = 16;

/// The size to which the write-ahead log is cut back after a burst of commits.
const LARGEST_IDLE_WAL_BYTES: i64 = 16 << 20;

/// The open log. One thread owns it (see [`super::StoreThread`]).
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// The boots that this store has recorded. All other boots have ended, since one agent at a time has the log open.
    pub(super) running: Vec<String>,
    /// The size of all evidence. Summed up once at the start, because that reads every row with evidence; then kept up to date.
    pub(super) evidence_bytes: u64,
    /// Parameters of committed inspections, with their rows. They are the same for all inspections of a run, and to find the
    /// row takes two statements over all columns.
    parameters: Vec<(Arc<Parameters>, i64)>,
    /// Locked as long as the log is open. The system releases the lock however the process ends.
    _lock: File,
}

impl Store {
    /// Opens the log at `path`. Creates it, with its folder, if it does not exist; brings an older one up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::io(path, &error))?;
        }
        let lock = lock(path)?;
        let connection = Connection::open(path).map_err(|error| StoreError::new(path, &error))?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
            running: Vec::new(),
            evidence_bytes: 0,
            parameters: Vec::new(),
            _lock: lock,
        };
        store.make_durable()?;
        store.migrate()?;
        store.evidence_bytes = store.sum_evidence()?;
        Ok(store)
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        let set =
            |pragma, wanted| -> rusqlite::Result<()> { self.connection.pragma_update(None, pragma, wanted) };
        self.connection
            .busy_timeout(BUSY_TIMEOUT)
            // Has an effect on a new file only. An older file keeps its size, and its free pages are used again.
            .and_then(|()| set("auto_vacuum", "INCREMENTAL"))
            .and_then(|()| set("journal_mode", "WAL"))
            .and_then(|()| self.connection.pragma_update(None, "journal_size_limit", LARGEST_IDLE_WAL_BYTES))
            .and_then(|()| set("synchronous", "FULL"))
            .and_then(|()| set("foreign_keys", "ON"))
            .map_err(|error| self.error(&error))?;
        // SQLite silently ignores a pragma that it cannot apply, so the values are read back.
        self.assert_pragma("journal_mode", "wal", "write-ahead logging")?;
        self.assert_pragma("synchronous", "2", "a sync at every commit (FULL, 2)")?;
        self.assert_pragma("foreign_keys", "1", "foreign keys")
    }

    fn assert_pragma(
        &self,
        pragma: &'static str,
        expected: &str,
        wanted: &'static str,
    ) -> Result<(), StoreError> {
        let found = self
            .connection
            .pragma_query_value(None, pragma, |row| {
                let value: rusqlite::types::Value = row.get(0)?;
                Ok(match value {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(word) => word,
                    other => format!("{other:?}"),
                })
            })
            .map_err(|error| self.error(&error))?;
        if found == expected {
            return Ok(());
        }
        Err(StoreError::NotDurable { path: self.path.display().to_string(), pragma, found, wanted })
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let (found, known) = (self.in_transaction(migrations::run)?, migrations::VERSION);
        if found > known {
            return Err(StoreError::Newer { path: self.path.display().to_string(), found, known });
        }
        Ok(())
    }

    /// Records that a station starts. Its inspections refer to this row.
    pub fn begin(&mut self, origin: &Origin, boot: &Boot<'_>) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let parameters_id = inspection_row::parameters_row(transaction, boot.parameters)?;
            transaction.execute(
                "INSERT INTO boot (boot_id, station, started_at_us, version, configuration, parameters_id, bundle_folder)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    origin.boot_id.to_string(),
                    &*origin.station,
                    boot.started_at.as_microsecond(),
                    boot.version,
                    boot.configuration,
                    parameters_id,
                    boot.bundle_folder.to_string_lossy(),
                ],
            )?;
            Ok(())
        })?;
        self.running.push(origin.boot_id.to_string());
        Ok(())
    }

    /// Commits one inspection with its number, its messages and an outbox row for each message; or, on an error, nothing.
    pub fn commit(
        &mut self,
        origin: &Origin,
        inspection: &Inspection,
        encode: &EncodeMessages,
    ) -> Result<Committed, StoreError> {
        let known = self.parameters.iter().find(|(known, _)| Arc::ptr_eq(known, &inspection.parameters));
        let known = known.map(|(_, row)| *row);
        let (committed, parameters_id) = self.in_transaction(|transaction| {
            let parameters_id = match known {
                Some(row) => row,
                None => inspection_row::parameters_row(transaction, &inspection.parameters)?,
            };
            let seq: i64 = transaction
                .prepare_cached(
                    "UPDATE boot SET last_seq = last_seq + 1 WHERE boot_id = ?1 AND station = ?2
                     RETURNING last_seq",
                )?
                .query_row(params![origin.boot_id.to_string(), &*origin.station], |row| row.get(0))?;
            let row = inspection_row::insert(transaction, origin, seq, inspection, parameters_id)?;
            for (output, payload) in encode(origin.boot_id, seq as u64, inspection) {
                transaction
                    .prepare_cached(
                        "INSERT INTO output_message (inspection_id, output, payload) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![row, output.name(), payload])?;
                transaction
                    .prepare_cached(
                        "INSERT INTO outbox (inspection_id, output, station) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![row, output.name(), &*origin.station])?;
            }
            Ok((Committed { row: RowId(row), seq: seq as u64 }, parameters_id))
        })?;
        if known.is_none() {
            self.parameters.truncate(MOST_PARAMETERS - 1);
            self.parameters.insert(0, (Arc::clone(&inspection.parameters), parameters_id));
        }
        self.evidence_bytes += inspection.evidence.as_ref().map_or(0, |evidence| evidence.bytes);
        Ok(committed)
    }

    /// The newest row of all stations; [`RowId::START`] in an empty log.
    pub(super) fn newest_row(&self) -> Result<RowId, StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT coalesce(max(id), 0) FROM inspection", [], |row| row.get(0).map(RowId))
        })
    }

    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let value = work(&transaction)?; // on an error the transaction is dropped: rolled back
                stop::hold_if_ending_at_once();
                transaction.commit()?;
                Ok(value)
            })
            .map_err(|error| StoreError::new(&self.path, &error))
    }

    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        query(&self.connection).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::new(&self.path, error)
    }
}

/// Locks the log, so that no second agent opens it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.with_extension("lock");
    let lock = File::create(&file).map_err(|error| StoreError::io(&file, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(&file, &error)),
    }
}
