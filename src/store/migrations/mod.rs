//! Brings a log of an earlier schema version up to date: one numbered SQL file for each step.
//!
//! Guarantees: all missing steps run in one transaction. If they are interrupted, the log still has its old version. A log of
//! a newer version is not changed.

use rusqlite::{Result, Transaction};

/// Step `n` takes a database of version `n` to version `n + 1`. A released step never changes.
const STEPS: [&str; 3] = [
    include_str!("0001_inspection_log.sql"),
    include_str!("0002_verify_retention_refusals.sql"),
    include_str!("0003_message_per_output.sql"),
];

/// The version of the log that this program writes and reads.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// Brings the log to [`VERSION`] if it is older. Returns the version that it had.
pub(super) fn run(transaction: &Transaction<'_>) -> Result<u32> {
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found <= VERSION {
        for step in &STEPS[found as usize..] {
            transaction.execute_batch(step)?;
        }
        // Written even if no step is missing, so that a read-only disk is noticed at the start.
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(found)
}
