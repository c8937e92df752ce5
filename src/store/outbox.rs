//! What the broker has not acknowledged yet, as the pump asks for it.
//!
//! Guarantees: a row leaves through [`Store::acknowledged`] and in no other way; a row that the broker refused stays,
//! apart from the others, with the reason.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{RowId, Store, StoreError};

/// A committed inspection as the line is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub row: RowId,
    /// `None` where the log holds no time that can be read: the message goes all the same.
    pub captured_at: Option<Timestamp>,
    pub text: String,
}

/// What still waits for the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// All rows, those refused among them.
    pub depth: u64,
    /// When the oldest waiting part was captured.
    pub oldest: Option<Timestamp>,
    /// Rows that the broker did not take when they were sent; they are tried again later.
    pub refused: u64,
    /// Why the newest of these was refused.
    pub refusal: Option<String>,
}

impl RowId {
    /// After every row.
    pub const END: Self = Self(i64::MAX);

    /// A row made up for a test.
    #[cfg(test)]
    pub(crate) fn numbered(id: i64) -> Self {
        Self(id)
    }
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

    /// Notes that the broker did not take this row, and why. Nothing happens to one that is acknowledged.
    pub fn refused(&mut self, row: RowId, at: Timestamp, why: &str) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE outbox SET refused_at_us = ?2, refusal = ?3 WHERE inspection_id = ?1",
                )?
                .execute(params![row.0, at.as_microsecond(), why])?;
            Ok(())
        })
    }

    /// The station's oldest messages after `after` and up to `until` that are neither acknowledged nor refused,
    /// at most `limit`, in order of commitment.
    pub fn outbox_between(
        &self,
        station: &str,
        after: RowId,
        until: RowId,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, captured_at_us, message FROM outbox JOIN inspection ON id = inspection_id
                     WHERE outbox.station = ?1 AND inspection_id > ?2 AND inspection_id <= ?3
                       AND refused_at_us IS NULL
                     ORDER BY inspection_id LIMIT ?4",
                )?
                .query_map(params![station, after.0, until.0, limit as i64], message)?
                .collect()
        })
    }

    /// The message whose refusal is the longest ago.
    pub fn longest_refused(&self, station: &str) -> Result<Option<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, captured_at_us, message FROM outbox JOIN inspection ON id = inspection_id
                     WHERE outbox.station = ?1 AND refused_at_us IS NOT NULL
                     ORDER BY refused_at_us, inspection_id LIMIT 1",
                )?
                .query_row([station], message)
                .optional()
        })
    }

    /// The station's newest inspection, acknowledged or not, but for one that the broker refused.
    pub fn newest_message(&self, station: &str) -> Result<Option<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, captured_at_us, message FROM inspection LEFT JOIN outbox ON inspection_id = id
                     WHERE id = (SELECT max(id) FROM inspection WHERE station = ?1) AND refused_at_us IS NULL",
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
                    "SELECT count(*),
                            (SELECT captured_at_us FROM outbox JOIN inspection ON id = inspection_id
                             WHERE outbox.station = ?1 ORDER BY inspection_id LIMIT 1),
                            (SELECT count(*) FROM outbox WHERE station = ?1 AND refused_at_us IS NOT NULL),
                            (SELECT refusal FROM outbox WHERE station = ?1 AND refused_at_us IS NOT NULL
                             ORDER BY refused_at_us DESC, inspection_id DESC LIMIT 1)
                     FROM outbox WHERE station = ?1",
                )?
                .query_row([station], |row| {
                    let oldest: Option<i64> = row.get(1)?;
                    Ok(Backlog {
                        depth: row.get::<_, u32>(0)?.into(),
                        oldest: oldest.and_then(|at| Timestamp::from_microsecond(at).ok()),
                        refused: row.get::<_, u32>(2)?.into(),
                        refusal: row.get(3)?,
                    })
                })
        })
    }
}

fn message(row: &rusqlite::Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        row: RowId(row.get("id")?),
        captured_at: Timestamp::from_microsecond(row.get("captured_at_us")?).ok(),
        text: row.get("message")?,
    })
}
