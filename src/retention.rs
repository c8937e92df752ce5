//! What is let go of, and when: evidence and rows, by days, by bytes and by room on the disk.
//!
//! Guarantees: nothing that waits for the broker goes; evidence goes before rows when the disk is low; each
//! [`Retention::step`] is small, so that it delays no verdict. Reads no clock and no disk: the moment is given, so a
//! year can be tried in a minute. Leaves out: pausing new evidence on a low disk (see `agent`).

use std::io::ErrorKind;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::store::{Kept, RowId, StoreError, StoreHandle};

/// How much may be kept of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub days: u32,
    pub bytes: u64,
    /// With less room than this on the disk, the oldest go.
    pub min_free_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub evidence: Bounds,
    pub rows: Bounds,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// False after the clock has jumped: nothing is old then.
    pub days_count: bool,
    /// Room on the disk; `None`, when it is not known, is enough.
    pub free_bytes: Option<u64>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub evidence: usize,
    pub rows: usize,
}

impl Step {
    /// Is there more to do at once?
    pub fn did_something(self) -> bool {
        self.evidence > 0 || self.rows > 0
    }
}

/// Evidence folders removed in one step; each is a handful of files.
const EVIDENCE_STEP: usize = 20;
/// Rows looked at in one step: about a millisecond of the store's time.
const ROWS_STEP: usize = 200;

/// Keeps one agent's log and evidence within bounds.
pub struct Retention {
    pub store: StoreHandle,
    /// Holds a folder per station.
    pub evidence_folder: PathBuf,
    pub limits: Limits,
    cursor: RowId,
}

impl Retention {
    pub fn new(store: StoreHandle, evidence_folder: PathBuf, limits: Limits) -> Self {
        Self { store, evidence_folder, limits, cursor: RowId::START }
    }

    /// Lets go of a little of what is too much. Evidence that cannot be removed is an error and stays named.
    pub fn step(&mut self, moment: &Moment) -> Result<Step, RetentionError> {
        let holding = self.store.holding()?;
        let mut step = Step::default();
        if exceeded(&self.limits.evidence, moment, holding.evidence_bytes, holding.oldest_evidence) {
            step.evidence = self.remove(self.store.oldest_evidence(EVIDENCE_STEP)?)?;
        }
        if step.evidence == 0 && exceeded(&self.limits.rows, moment, holding.rows_bytes, holding.oldest_row) {
            let window = self.store.forget_rows(self.cursor, ROWS_STEP)?;
            step.rows = window.rows;
            step.evidence = self.remove(window.held_by_evidence)?;
            // Rows whose evidence has just gone can go in the next step.
            self.cursor = if step.evidence > 0 { self.cursor } else { window.next.unwrap_or(RowId::START) };
        }
        Ok(step)
    }

    /// Removes what a crash left behind: evidence folders of the station that no row names. Spares those with
    /// `present` in their name: their rows may just be coming. `turn` is called all the while.
    pub fn sweep(
        &self,
        station: &str,
        present: &str,
        mut turn: impl FnMut(),
    ) -> Result<usize, RetentionError> {
        let root = self.evidence_folder.join(station);
        let failed = |why| RetentionError::Evidence { path: root.clone(), why };
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&root).map_err(failed)? {
            turn();
            let name = entry.map_err(failed)?.file_name().into_string();
            folders.extend(name.ok().filter(|name| !name.contains(present)));
        }
        let mut swept = 0;
        for some in folders.chunks(ROWS_STEP) {
            turn();
            for folder in self.store.unnamed(station, some.to_vec())? {
                turn();
                self.delete(station, &folder)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn remove(&self, evidence: Vec<Kept>) -> Result<usize, RetentionError> {
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

/// Something could not be let go of; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("evidence: {}: cannot be removed: {why}; the agent must own its state folder", path.display())]
    Evidence { path: PathBuf, why: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn exceeded(bounds: &Bounds, moment: &Moment, bytes: u64, oldest: Option<Timestamp>) -> bool {
    let Some(oldest) = oldest else {
        return false; // nothing is there
    };
    let age = moment.now.duration_since(oldest);
    bytes > bounds.bytes
        || moment.free_bytes.is_some_and(|free| free < bounds.min_free_bytes)
        || (moment.days_count && age > SignedDuration::from_hours(24 * i64::from(bounds.days)))
}
