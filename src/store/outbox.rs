//! What the broker has not acknowledged yet, as the pump asks for it.
//!
//! Guarantees: a row leaves through [`Store::acknowledged`] and in no other way.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{RowId, Store, StoreError};

/// A committed inspection as the line is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub row: RowId,
    pub text: String,
}

/// What still waits for the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub depth: u64,
    /// When the oldest waiting part was captured.
    pub oldest: Option<Timestamp>,
}

impl Store {
    /// Takes rows out of the outbox that the broker has acknowledged, in one transaction.
    pub fn acknowledged(&mut self, rows: &[RowId]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM outbox WHERE inspection_id = ?1")?;
            for row in rows {
                delete.execute([row.0])?;
            }
            Ok(())
        })
    }

    /// The station's oldest unacknowledged messages after `after`, at most `limit`, in order of commitment.
    pub fn outbox_after(
        &self,
        station: &str,
        after: RowId,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, message FROM outbox JOIN inspection ON id = inspection_id
                     WHERE outbox.station = ?1 AND inspection_id > ?2 ORDER BY inspection_id LIMIT ?3",
                )?
                .query_map(params![station, after.0, limit as i64], message)?
                .collect()
        })
    }

    /// The station's newest inspection, acknowledged or not.
    pub fn newest_message(&self, station: &str) -> Result<Option<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, message FROM inspection WHERE station = ?1 ORDER BY id DESC LIMIT 1",
                )?
                .query_row([station], message)
                .optional()
        })
    }

    /// How much of this station the broker has not acknowledged.
    pub fn backlog(&self, station: &str) -> Result<Backlog, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*), (SELECT captured_at_us FROM outbox JOIN inspection ON id = inspection_id
                                       WHERE outbox.station = ?1 ORDER BY inspection_id LIMIT 1)
                     FROM outbox WHERE station = ?1",
                )?
                .query_row([station], |row| {
                    let oldest: Option<i64> = row.get(1)?;
                    Ok(Backlog {
                        depth: row.get::<_, u32>(0)?.into(),
                        oldest: oldest.and_then(|at| Timestamp::from_microsecond(at).ok()),
                    })
                })
        })
    }
}

fn message(row: &rusqlite::Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message { row: RowId(row.get(0)?), text: row.get(1)? })
}
