//! The outbox: the messages that the broker has not acknowledged, one row for each inspection and output.
//!
//! Guarantees: a row is deleted only by [`Store::acknowledged`]. No output changes the rows of another output. A row that the
//! broker refused stays, with the time and the reason.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, named_params, params};

use super::database::Store;
use super::encoder::OutputId;
use super::error::StoreError;
use super::identity::RowId;
use super::stored_message::PAYLOAD;

/// A message of a committed inspection, for one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub row: RowId,
    /// `None` if the time in the log cannot be read; the message is sent nevertheless.
    pub captured_at: Option<Timestamp>,
    /// The message as its encoder made it at the commit.
    pub payload: Vec<u8>,
}

/// How much of the outbox, for one station and output, the broker has not acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of all rows, with those that were refused.
    pub depth: u64,
    /// When the oldest waiting part was captured.
    pub oldest: Option<Timestamp>,
    /// The number of rows that the broker refused; they are sent again later.
    pub refused: u64,
    /// The reason of the newest refusal.
    pub refusal: Option<String>,
}

impl Store {
    /// Deletes the rows of an output that the broker has acknowledged, in one transaction.
    pub fn acknowledged(&mut self, output: OutputId, rows: &[RowId]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let mut delete =
                transaction.prepare_cached("DELETE FROM outbox WHERE inspection_id = ?1 AND output = ?2")?;
            for row in rows {
                delete.execute(params![row.0, output.name()])?;
            }
            Ok(())
        })
    }

    /// Records that the broker refused this row, and why. Does nothing if the row is already acknowledged.
    pub fn refused(
        &mut self,
        output: OutputId,
        row: RowId,
        at: Timestamp,
        why: &str,
    ) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE outbox SET refused_at_us = ?3, refusal = ?4 WHERE inspection_id = ?1 AND output = ?2",
                )?
                .execute(params![row.0, output.name(), at.as_microsecond(), why])?;
            Ok(())
        })
    }

    /// The oldest messages of a station and output that are neither acknowledged nor refused: those after `after` and up to
    /// `until`, at most `limit`, in the order of their commit.
    pub fn outbox_between(
        &self,
        station: &str,
        output: OutputId,
        after: RowId,
        until: RowId,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT id, captured_at_us, {PAYLOAD} AS payload
                     FROM outbox CROSS JOIN inspection ON inspection.id = outbox.inspection_id
                     WHERE outbox.station = :station AND outbox.output = :output
                       AND outbox.inspection_id > :after AND outbox.inspection_id <= :until AND refused_at_us IS NULL
                     ORDER BY outbox.inspection_id LIMIT :limit"
                ))?
                .query_map(
                    named_params! {
                        ":station": station,
                        ":output": output.name(),
                        ":after": after.0,
                        ":until": until.0,
                        ":limit": limit as i64,
                    },
                    message,
                )?
                .collect()
        })
    }

    /// The message that was refused the longest time ago.
    pub fn longest_refused(&self, station: &str, output: OutputId) -> Result<Option<OutboxRow>, StoreError> {
        self.one_message(
            "SELECT inspection_id FROM outbox
             WHERE station = :station AND output = :output AND refused_at_us IS NOT NULL
             ORDER BY refused_at_us, inspection_id LIMIT 1",
            station,
            output,
        )
    }

    /// The message of the station's newest inspection, acknowledged or not; `None` if the broker refused it.
    pub fn newest_message(&self, station: &str, output: OutputId) -> Result<Option<OutboxRow>, StoreError> {
        self.one_message(
            "SELECT newest FROM (SELECT max(id) AS newest FROM inspection WHERE station = :station)
             WHERE NOT EXISTS (SELECT 1 FROM outbox
                               WHERE inspection_id = newest AND output = :output AND refused_at_us IS NOT NULL)",
            station,
            output,
        )
    }

    /// The message of the one inspection that `wanted` selects.
    fn one_message(
        &self,
        wanted: &str,
        station: &str,
        output: OutputId,
    ) -> Result<Option<OutboxRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT * FROM (SELECT id, captured_at_us, {PAYLOAD} AS payload FROM inspection WHERE id = ({wanted}))
                     WHERE payload IS NOT NULL"
                ))?
                .query_row(named_params! { ":station": station, ":output": output.name() }, message)
                .optional()
        })
    }

    /// How much of this station and output the broker has not acknowledged.
    pub fn backlog(&self, station: &str, output: OutputId) -> Result<Backlog, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*),
                            (SELECT captured_at_us FROM outbox JOIN inspection ON id = inspection_id
                             WHERE outbox.station = ?1 AND output = ?2 ORDER BY inspection_id LIMIT 1),
                            (SELECT count(*) FROM outbox
                             WHERE station = ?1 AND output = ?2 AND refused_at_us IS NOT NULL),
                            (SELECT refusal FROM outbox
                             WHERE station = ?1 AND output = ?2 AND refused_at_us IS NOT NULL
                             ORDER BY refused_at_us DESC, inspection_id DESC LIMIT 1)
                     FROM outbox WHERE station = ?1 AND output = ?2",
                )?
                .query_row(params![station, output.name()], |row| {
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

fn message(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        row: RowId(row.get("id")?),
        captured_at: Timestamp::from_microsecond(row.get("captured_at_us")?).ok(),
        payload: row.get("payload")?,
    })
}
