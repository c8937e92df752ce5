//! Deletes old rows from the log, and records the deletion of evidence: oldest first, a few at a time.
//!
//! Guarantees: a row with a message that the broker has not acknowledged is never deleted, and its evidence is not offered
//! for deletion. Each call reads a limited number of rows, so that no commit waits long for it. The number of a deleted row
//! is never used again (`boot.last_seq`).
//! Leaves out: when to delete what, and the files of the evidence (see [`crate::retention`]).

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

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
    pub bytes: u64,
    /// Whether the verdict was not `normal`.
    pub flagged: bool,
    pub captured_at_us: i64,
}

/// The result of [`Store::evidence_after`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidencePage {
    /// Evidence whose verdict the broker has acknowledged, in the order of the commits.
    pub deletable: Vec<KeptEvidence>,
    /// When the oldest of all evidence that was looked at was captured, also of evidence that waits for the broker.
    pub oldest_us: Option<i64>,
    /// Where the next call begins; `None` when there was no more evidence.
    pub next: Option<RowId>,
}

/// How much the log and its evidence use, and how old they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredAmount {
    /// The size of the database, without its free pages.
    pub rows_bytes: u64,
    /// The size of the free pages of the database, which can be given back to the disk. 0 in a database of the first version: it
    /// gives none back, but uses them again.
    pub free_pages_bytes: u64,
    /// Whether deleting rows gives room back to the disk. False in a database of the first version.
    pub rows_give_room: bool,
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
    /// Whether any of the rows that were looked at was captured before the given time, also if it waits for the broker.
    pub any_wanted: bool,
    /// Where the next call begins; `None` when there were no more rows.
    pub next: Option<RowId>,
}

/// How many free pages are given back to the disk at a time.
const VACUUM_PAGES: u32 = 256;
/// How many, when nothing is deleted for it: about ten milliseconds of the store's time.
const VACUUM_ALONE_PAGES: u32 = 2048;
/// How many rows of the outbox are counted at most: some milliseconds of the store's time.
const MOST_COUNTED: i64 = 200_000;
/// `PRAGMA auto_vacuum` of a database that gives free pages back when it is asked to.
const INCREMENTAL: u32 = 2;

impl Store {
    pub fn stored_amount(&self) -> Result<StoredAmount, StoreError> {
        self.read(|connection| {
            let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
            let free = pragma("freelist_count")?;
            let pages = pragma("page_count")? - free;
            let gives_back = pragma("auto_vacuum")? == u64::from(INCREMENTAL);
            let (oldest_row, oldest_evidence): (Option<i64>, Option<i64>) = connection
                .prepare_cached(
                    "SELECT (SELECT captured_at_us FROM inspection ORDER BY id LIMIT 1),
                            (SELECT captured_at_us FROM inspection WHERE evidence IS NOT NULL ORDER BY id LIMIT 1)",
                )?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let time = |at: Option<i64>| at.and_then(|at| Timestamp::from_microsecond(at).ok());
            Ok(StoredAmount {
                rows_bytes: pages * pragma("page_size")?,
                free_pages_bytes: if gives_back { free * pragma("page_size")? } else { 0 },
                rows_give_room: gives_back,
                oldest_row: time(oldest_row),
                evidence_bytes: self.evidence_bytes,
                oldest_evidence: time(oldest_evidence),
            })
        })
    }

    /// Looks at the evidence of the `limit` oldest rows after `after` that have some.
    pub fn evidence_after(&self, after: RowId, limit: usize) -> Result<EvidencePage, StoreError> {
        self.read(|connection| {
            let looked_at = connection
                .prepare_cached(&format!(
                    "SELECT {KEPT}, id IN (SELECT inspection_id FROM outbox)
                     FROM inspection INDEXED BY inspection_with_evidence
                     WHERE evidence IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2"
                ))?
                .query_map(params![after.0, limit as i64], |row| Ok((kept(row)?, row.get(6)?)))?
                .collect::<rusqlite::Result<Vec<(KeptEvidence, bool)>>>()?;
            Ok(EvidencePage {
                next: looked_at.last().map(|(kept, _)| kept.row),
                oldest_us: looked_at.iter().map(|(kept, _)| kept.captured_at_us).min(),
                deletable: looked_at.into_iter().filter(|(_, waits)| !waits).map(|(kept, _)| kept).collect(),
            })
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
                let known = size.query_row([row.0], |row| row.get::<_, Option<i64>>(0)).optional()?;
                bytes += known.flatten().unwrap_or(0);
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
    /// of the free space back to the disk. With `captured_before`, younger rows stay.
    pub fn delete_rows(
        &mut self,
        after: RowId,
        limit: usize,
        captured_before: Option<Timestamp>,
    ) -> Result<DeletedRows, StoreError> {
        let running = serde_json::json!(self.running).to_string();
        let before = captured_before.map_or(i64::MAX, Timestamp::as_microsecond);
        let deleted = self.in_transaction(|transaction| {
            let last: Option<i64> = transaction
                .prepare_cached("SELECT max(id) FROM (SELECT id FROM inspection WHERE id > ?1 ORDER BY id LIMIT ?2)")?
                .query_row(params![after.0, limit as i64], |row| row.get(0))?;
            let Some(last) = last else {
                let held_by_evidence = Vec::new();
                return Ok(DeletedRows { rows: 0, held_by_evidence, any_wanted: false, next: None });
            };
            // The `+` keeps SQLite from using the index by time, which would read all old rows.
            const WANTED: &str = "FROM inspection WHERE id > ?1 AND id <= ?2 AND +captured_at_us < ?3";
            const ACKNOWLEDGED: &str = "AND id NOT IN (SELECT inspection_id FROM outbox)";
            let any_wanted = transaction
                .prepare_cached(&format!("SELECT EXISTS (SELECT 1 {WANTED})"))?
                .query_row([after.0, last, before], |row| row.get(0))?;
            let rows = transaction
                .prepare_cached(&format!("DELETE {WANTED} {ACKNOWLEDGED} AND evidence IS NULL"))?
                .execute([after.0, last, before])?;
            let held_by_evidence = transaction
                .prepare_cached(&format!("SELECT {KEPT} {WANTED} {ACKNOWLEDGED}"))?
                .query_map([after.0, last, before], kept)?
                .collect::<rusqlite::Result<_>>()?;
            // Deletes boots without inspections. Not by their time: the clock may have been wrong.
            transaction
                .prepare_cached(
                    "DELETE FROM boot WHERE boot_id NOT IN (SELECT value FROM json_each(?1))
                     AND NOT EXISTS (SELECT 1 FROM inspection
                                     WHERE inspection.boot_id = boot.boot_id AND inspection.station = boot.station)",
                )?
                .execute([&running])?;
            Ok(DeletedRows { rows, held_by_evidence, any_wanted, next: Some(RowId(last)) })
        })?;
        self.vacuum(VACUUM_PAGES)?;
        Ok(deleted)
    }

    /// Gives some free pages back to the disk, and what is in the write-ahead log with them. Nothing is lost by it. A reader may
    /// prevent it for now.
    pub fn give_back_room(&self) -> Result<(), StoreError> {
        self.vacuum(VACUUM_ALONE_PAGES)?;
        self.read(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    fn vacuum(&self, pages: u32) -> Result<(), StoreError> {
        self.read(|connection| {
            // Each page that is given back is one empty row.
            let mut vacuum = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        })
    }

    /// Whether the rows that wait for the broker alone are at least this large. An estimate, from the average row.
    pub fn waiting_rows_reach(&self, bytes: u64) -> Result<bool, StoreError> {
        let rows_bytes = self.stored_amount()?.rows_bytes;
        self.read(|connection| {
            let (rows, waiting): (i64, i64) = connection
                .prepare_cached(
                    "SELECT (SELECT max(id) - min(id) + 1 FROM inspection),
                            (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?1))",
                )?
                .query_row([MOST_COUNTED], |row| {
                    Ok((row.get::<_, Option<i64>>(0)?.unwrap_or(0), row.get(1)?))
                })?;
            let average = rows_bytes / rows.max(1) as u64;
            Ok(waiting > 0 && waiting as u64 * average >= bytes)
        })
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

/// The columns that [`kept`] reads.
const KEPT: &str = "id, station, evidence, evidence_bytes, verdict <> 'normal', captured_at_us";

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeptEvidence> {
    Ok(KeptEvidence {
        row: RowId(row.get(0)?),
        station: row.get(1)?,
        folder: row.get(2)?,
        bytes: row.get::<_, Option<i64>>(3)?.unwrap_or(0).max(0) as u64,
        flagged: row.get(4)?,
        captured_at_us: row.get(5)?,
    })
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
