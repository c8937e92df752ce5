//! Deletes old rows from the log, and records the deletion of evidence: oldest first, a few at a time.
//!
//! Guarantees: a row with a message that the broker has not acknowledged is never deleted, and its evidence is not offered
//! for deletion. Each call reads a limited number of rows, so that no commit waits long for it. The number of a deleted row
//! is never used again (`boot.last_seq`).
//! Leaves out: when to delete what, and the files of the evidence (see [`crate::retention`]).

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::database::{BUSY_TIMEOUT, Store};
use super::error::StoreError;
use super::identity::RowId;

/// Evidence that may be deleted: its row and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvidence {
    pub row: RowId,
    pub station: String,
    /// Relative to the station's evidence folder.
    pub folder: String,
}

/// How much the log and its evidence use, and how old they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredAmount {
    /// The size of the database, without its free pages.
    pub rows_bytes: u64,
    pub oldest_row: Option<Timestamp>,
    pub evidence_bytes: u64,
    pub oldest_evidence: Option<Timestamp>,
}

/// The result of [`Store::delete_rows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedRows {
    pub rows: usize,
    /// Rows that were not deleted, only because they still have evidence.
    pub held_by_evidence: Vec<KeptEvidence>,
    /// Where the next call begins; `None` when there were no more rows.
    pub next: Option<RowId>,
}

/// How many free pages are given back to the disk at a time.
const VACUUM_PAGES: u32 = 256;

impl Store {
    pub fn stored_amount(&self) -> Result<StoredAmount, StoreError> {
        self.read(|connection| {
            let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
            let pages = pragma("page_count")? - pragma("freelist_count")?;
            let (oldest_row, oldest_evidence): (Option<i64>, Option<i64>) = connection
                .prepare_cached(
                    "SELECT (SELECT captured_at_us FROM inspection ORDER BY id LIMIT 1),
                            (SELECT captured_at_us FROM inspection WHERE evidence IS NOT NULL ORDER BY id LIMIT 1)",
                )?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let time = |at: Option<i64>| at.and_then(|at| Timestamp::from_microsecond(at).ok());
            Ok(StoredAmount {
                rows_bytes: pages * pragma("page_size")?,
                oldest_row: time(oldest_row),
                evidence_bytes: self.evidence_bytes,
                oldest_evidence: time(oldest_evidence),
            })
        })
    }

    /// The oldest evidence whose verdict the broker has acknowledged, at most `limit` folders.
    pub fn oldest_evidence(&self, limit: usize) -> Result<Vec<KeptEvidence>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, station, evidence FROM inspection
                     WHERE evidence IS NOT NULL AND id NOT IN (SELECT inspection_id FROM outbox)
                     ORDER BY id LIMIT ?1",
                )?
                .query_map([limit as i64], kept)?
                .collect()
        })
    }

    /// Records that the evidence of these rows is deleted: their `evidence_bytes` becomes 0. A row that never had evidence has
    /// NULL there.
    pub fn evidence_removed(&mut self, rows: &[RowId]) -> Result<(), StoreError> {
        let bytes = self.in_transaction(|transaction| {
            let mut size =
                transaction.prepare_cached("SELECT evidence_bytes FROM inspection WHERE id = ?1")?;
            let mut note = transaction
                .prepare_cached("UPDATE inspection SET evidence = NULL, evidence_bytes = 0 WHERE id = ?1")?;
            let mut bytes = 0;
            for row in rows {
                bytes += size.query_row([row.0], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0);
                note.execute([row.0])?;
            }
            Ok(bytes)
        })?;
        self.evidence_bytes = self.evidence_bytes.saturating_sub(bytes as u64);
        Ok(())
    }

    pub(super) fn sum_evidence(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            connection.query_row(
                "SELECT coalesce(sum(evidence_bytes), 0) FROM inspection INDEXED BY inspection_with_evidence
                 WHERE evidence IS NOT NULL",
                [],
                |row| row.get::<_, i64>(0).map(|bytes| bytes as u64),
            )
        })
    }

    /// Looks at the `limit` oldest rows after `after`. Deletes those that are acknowledged and have no evidence, and gives some
    /// of the free space back to the disk.
    pub fn delete_rows(&mut self, after: RowId, limit: usize) -> Result<DeletedRows, StoreError> {
        let running = serde_json::json!(self.running).to_string();
        let deleted = self.in_transaction(|transaction| {
            let last: Option<i64> = transaction
                .prepare_cached("SELECT max(id) FROM (SELECT id FROM inspection WHERE id > ?1 ORDER BY id LIMIT ?2)")?
                .query_row(params![after.0, limit as i64], |row| row.get(0))?;
            let Some(last) = last else {
                return Ok(DeletedRows { rows: 0, held_by_evidence: Vec::new(), next: None });
            };
            const ACKNOWLEDGED: &str =
                "FROM inspection WHERE id > ?1 AND id <= ?2 AND id NOT IN (SELECT inspection_id FROM outbox)";
            let rows = transaction
                .prepare_cached(&format!("DELETE {ACKNOWLEDGED} AND evidence IS NULL"))?
                .execute([after.0, last])?;
            let held_by_evidence = transaction
                .prepare_cached(&format!("SELECT id, station, evidence {ACKNOWLEDGED}"))?
                .query_map([after.0, last], kept)?
                .collect::<rusqlite::Result<_>>()?;
            // Deletes boots without inspections. Not by their time: the clock may have been wrong.
            transaction
                .prepare_cached(
                    "DELETE FROM boot WHERE boot_id NOT IN (SELECT value FROM json_each(?1))
                     AND NOT EXISTS (SELECT 1 FROM inspection
                                     WHERE inspection.boot_id = boot.boot_id AND inspection.station = boot.station)",
                )?
                .execute([&running])?;
            Ok(DeletedRows { rows, held_by_evidence, next: Some(RowId(last)) })
        })?;
        self.read(|connection| {
            // Each page that is given back is one empty row.
            let mut vacuum =
                connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        })?;
        Ok(deleted)
    }

    /// Returns those of a station's evidence folders that no row names.
    pub fn unnamed(&self, station: &str, folders: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut named = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM inspection WHERE station = ?1 AND evidence = ?2)",
            )?;
            let mut unnamed = Vec::new();
            for folder in folders {
                if !named.query_row([station, &folder], |row| row.get(0))? {
                    unnamed.push(folder);
                }
            }
            Ok(unnamed)
        })
    }
}

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeptEvidence> {
    Ok(KeptEvidence { row: RowId(row.get(0)?), station: row.get(1)?, folder: row.get(2)? })
}

/// How many steps of SQLite (a page or a row each) there are between two calls of `go_on`: milliseconds on any disk.
const CHECK_STEPS: i32 = 1000;

/// Checks the whole database for damage, while the agent uses it. Takes as long as the disk takes to read it, and asks
/// `go_on` again and again meanwhile; once that says no, the rest is not checked.
pub(crate) fn check(path: &Path, mut go_on: impl FnMut() -> bool + Send + 'static) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::new(path, &error);
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.progress_handler(CHECK_STEPS, Some(move || !go_on())).map_err(failed)?;
    let found: rusqlite::Result<String> =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0));
    match found {
        Ok(found) if found != "ok" => {
            Err(StoreError::Corrupt { path: path.display().to_string(), why: found })
        }
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::OperationInterrupted) => {
            Err(failed(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_ends_when_it_is_no_longer_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let made = Connection::open(&path).unwrap();
        let rows = "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                    INSERT INTO t SELECT hex(randomblob(50)) FROM n";
        made.execute_batch(rows).unwrap();
        let (asked, answers) = std::sync::mpsc::channel();
        let whole = asked.clone();
        check(&path, move || whole.send(()).is_ok()).unwrap();
        assert!(answers.try_iter().count() > 3, "it does not ask");
        check(&path, move || {
            asked.send(()).unwrap();
            false
        })
        .unwrap();
        assert_eq!(answers.try_iter().count(), 1, "it goes on");
    }
}
