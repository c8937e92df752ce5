//! One step of retention: deletes a few folders of evidence, or a few rows.
//!
//! Guarantees: nothing that the broker has not acknowledged is deleted. When the disk is low on space, evidence is deleted
//! before rows. Each [`Retention::step`] is small, so that it delays no verdict. The caller passes the time and the free disk
//! space, so that a test can run through a year in a minute.
//! Leaves out: pausing new evidence when the disk is low on space (see `agent::record_stage`).

use std::io::ErrorKind;
use std::path::PathBuf;

use super::policy::{Moment, RetentionLimits, exceeded};
use crate::store::{KeptEvidence, RowId, StoreError, StoreHandle};

/// How much a step deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionStep {
    pub evidence: usize,
    pub rows: usize,
}

impl RetentionStep {
    /// Whether anything was deleted: then there may be more to delete at once.
    pub fn did_something(self) -> bool {
        self.evidence > 0 || self.rows > 0
    }
}

/// How many evidence folders are deleted in one step; each has a handful of files.
const EVIDENCE_STEP: usize = 20;
/// How many rows are looked at in one step: about a millisecond of the store's time.
const ROWS_STEP: usize = 200;

/// Keeps one agent's log and evidence within bounds.
pub struct Retention {
    pub store: StoreHandle,
    /// Has one folder for each station.
    pub evidence_folder: PathBuf,
    pub limits: RetentionLimits,
    cursor: RowId,
}

impl Retention {
    pub fn new(store: StoreHandle, evidence_folder: PathBuf, limits: RetentionLimits) -> Self {
        Self { store, evidence_folder, limits, cursor: RowId::START }
    }

    /// Deletes a little, if there is too much. Evidence that cannot be deleted is an error, and the log keeps its row.
    pub fn step(&mut self, moment: &Moment) -> Result<RetentionStep, RetentionError> {
        let stored = self.store.stored_amount()?;
        let mut step = RetentionStep::default();
        if exceeded(&self.limits.evidence, moment, stored.evidence_bytes, stored.oldest_evidence) {
            step.evidence = self.remove(self.store.oldest_evidence(EVIDENCE_STEP)?)?;
        }
        if step.evidence == 0 && exceeded(&self.limits.rows, moment, stored.rows_bytes, stored.oldest_row) {
            let deleted = self.store.delete_rows(self.cursor, ROWS_STEP)?;
            step.rows = deleted.rows;
            step.evidence = self.remove(deleted.held_by_evidence)?;
            // Rows whose evidence has just been removed can be deleted in the next step.
            self.cursor = if step.evidence > 0 { self.cursor } else { deleted.next.unwrap_or(RowId::START) };
        }
        Ok(step)
    }

    /// Deletes what a crash left behind: evidence folders of the station that no row names. Keeps folders with `present` (the
    /// running boot) in their name, since their rows may not be committed yet. Asks `go_on` again and again meanwhile;
    /// once that says no, the rest stays for the next start.
    pub fn sweep(
        &self,
        station: &str,
        present: &str,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<usize, RetentionError> {
        let root = self.evidence_folder.join(station);
        let failed = |why| RetentionError::Evidence { path: root.clone(), why };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&root).map_err(failed)? {
            if !go_on() {
                return Ok(0);
            }
            let name = entry.map_err(failed)?.file_name().into_string();
            folders.extend(name.ok().filter(|name| !name.contains(present)));
        }
        let mut swept = 0;
        for some in folders.chunks(ROWS_STEP) {
            if !go_on() {
                return Ok(swept);
            }
            for folder in self.store.unnamed(station, some.to_vec())? {
                if !go_on() {
                    return Ok(swept);
                }
                self.delete(station, &folder)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn remove(&self, evidence: Vec<KeptEvidence>) -> Result<usize, RetentionError> {
        for kept in &evidence {
            self.delete(&kept.station, &kept.folder)?;
        }
        let rows: Vec<RowId> = evidence.iter().map(|kept| kept.row).collect();
        if !rows.is_empty() {
            self.store.evidence_removed(rows)?;
        }
        Ok(evidence.len())
    }

    fn delete(&self, station: &str, folder: &str) -> Result<(), RetentionError> {
        let path = self.evidence_folder.join(station).join(folder);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(RetentionError::Evidence { path, why: error })
            }
            _ => Ok(()),
        }
    }
}

/// Something could not be deleted. It is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("evidence: {}: cannot be deleted: {why}; the agent must own its state folder", path.display())]
    Evidence { path: PathBuf, why: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}
