//! The inspection log and the outbox: one SQLite file, the only module that knows SQL.
//!
//! Guarantees: [`Store::commit`] writes inspection, sequence number, wire message and outbox row in one
//! transaction that has reached the disk when it returns (WAL, `synchronous = FULL`, both read back when
//! opening), or nothing at all; `seq` counts from 1 per boot and station without a gap, since it is given
//! inside that transaction. A row leaves the outbox only through [`Store::acknowledged`].
//! One agent at a time writes a log (a lock beside the file), others may read it. Leaves out: clocks (every time
//! is given). Costs: one sync of the disk per commit (`certiscope bench` measures it).

mod commit_trial;
mod error;
mod log;
mod outbox;
mod record;
mod retention;
mod thread;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use crate::inspection::{Inspection, Parameters};
use crate::publish::wire;

pub use commit_trial::CommitTrial;
pub use error::{Cause, StoreError};
pub use log::{Delivery, Filter, Keeping, Log, LogError, Order, Record, Records, Start};
pub use outbox::{Backlog, Message};
pub use retention::{Forgotten, Holding, Kept, check};
pub use thread::{StoreHandle, StoreThread};

/// Step `n` takes a database of version `n` to version `n + 1`; a step that was released never changes.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema-2.sql")];

/// How long a commit waits for another process that holds the file (a person with `sqlite3`, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the write-ahead log is cut back to after a burst.
const LARGEST_IDLE_WAL_BYTES: i64 = 16 << 20;

/// Who inspects: one start of the agent, at one of its stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub boot_id: Uuid,
    pub station: Arc<str>,
}

/// What is known when a station starts.
#[derive(Debug)]
pub struct Boot<'a> {
    pub started_at: Timestamp,
    /// Of certiscope.
    pub version: &'a str,
    /// The station's configuration as it was read.
    pub configuration: &'a str,
    /// Where the bundle lay, absolute.
    pub bundle_folder: &'a Path,
    pub parameters: &'a Parameters,
}

/// A committed inspection's row: grows with every commit, over all boots and stations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(i64);

impl RowId {
    /// Before every row.
    pub const START: Self = Self(0);
}

/// What a commit gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub row: RowId,
    pub seq: u64,
}

/// The open log. Lives in one thread (see [`StoreThread`]).
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Boots that began through this store; the others have ended, since one agent at a time has it open.
    running: Vec<String>,
    /// Of all evidence together: summed up once, since that takes a look at every row that has some.
    evidence_bytes: u64,
    /// Held as long as the log is open; the system lets go of it whatever ends the process.
    _lock: File,
}

impl Store {
    /// Opens the log at `path`, makes it (with its folder) where there is none, and brings an older one up
    /// to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::io(path, &error))?;
        }
        let lock = lock(path)?;
        let connection = Connection::open(path).map_err(|error| StoreError::new(path, &error))?;
        let mut store =
            Self { connection, path: path.to_owned(), running: Vec::new(), evidence_bytes: 0, _lock: lock };
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
            // Holds for a new file only: an older one keeps its size and uses its pages again.
            .and_then(|()| set("auto_vacuum", "INCREMENTAL"))
            .and_then(|()| set("journal_mode", "WAL"))
            .and_then(|()| self.connection.pragma_update(None, "journal_size_limit", LARGEST_IDLE_WAL_BYTES))
            .and_then(|()| set("synchronous", "FULL"))
            .and_then(|()| set("foreign_keys", "ON"))
            .map_err(|error| self.error(&error))?;
        // SQLite answers a pragma it cannot follow with silence: read back what holds.
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

    /// Writes even when there is no step to take, so that a read-only disk shows itself at the start.
    fn migrate(&mut self) -> Result<(), StoreError> {
        let known = MIGRATIONS.len() as u32;
        let found = self.in_transaction(|transaction| {
            let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found <= known {
                for step in &MIGRATIONS[found as usize..] {
                    transaction.execute_batch(step)?;
                }
                transaction.pragma_update(None, "user_version", known)?;
            }
            Ok(found)
        })?;
        if found > known {
            return Err(StoreError::Newer { path: self.path.display().to_string(), found, known });
        }
        Ok(())
    }

    /// Writes down that a station starts; its inspections refer to this.
    pub fn begin(&mut self, origin: &Origin, boot: &Boot<'_>) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let parameters_id = record::parameters_row(transaction, boot.parameters)?;
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

    /// Commits one inspection: numbered, worded for the wire and put into the outbox, or nothing of it.
    pub fn commit(&mut self, origin: &Origin, inspection: &Inspection) -> Result<Committed, StoreError> {
        let committed = self.in_transaction(|transaction| {
            let parameters_id = record::parameters_row(transaction, &inspection.parameters)?;
            let seq: i64 = transaction
                .prepare_cached(
                    "UPDATE boot SET last_seq = last_seq + 1 WHERE boot_id = ?1 AND station = ?2
                     RETURNING last_seq",
                )?
                .query_row(params![origin.boot_id.to_string(), &*origin.station], |row| row.get(0))?;
            let message = wire::verdict(origin.boot_id, seq as u64, inspection);
            let row = record::insert(transaction, origin, seq, inspection, parameters_id, &message)?;
            transaction
                .prepare_cached("INSERT INTO outbox (inspection_id, station) VALUES (?1, ?2)")?
                .execute(params![row, &*origin.station])?;
            Ok(Committed { row: RowId(row), seq: seq as u64 })
        })?;
        self.evidence_bytes += inspection.evidence.as_ref().map_or(0, |evidence| evidence.bytes);
        Ok(committed)
    }

    /// The newest row of any station; [`RowId::START`] in an empty log.
    fn newest_row(&self) -> Result<RowId, StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT coalesce(max(id), 0) FROM inspection", [], |row| row.get(0).map(RowId))
        })
    }

    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let value = work(&transaction)?; // on an error the transaction is dropped: rolled back
                transaction.commit()?;
                Ok(value)
            })
            .map_err(|error| StoreError::new(&self.path, &error))
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        query(&self.connection).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::new(&self.path, error)
    }
}

/// Keeps a second agent off the log.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.with_extension("lock");
    let lock = File::create(&file).map_err(|error| StoreError::io(&file, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(&file, &error)),
    }
}
