//! The folders of evidence on the disk: deletes one, and sweeps away those that a crash left behind.
//!
//! Guarantees: a folder that is gone already is no error. A sweep deletes no folder that a row names.
//! Leaves out: which evidence is deleted when, and its rows (see `step`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::store::{StoreError, StoreHandle};

/// How many folders are looked up in the log at a time: about a millisecond of the store's time.
const LOOKED_UP: usize = 200;

/// Something could not be deleted. It is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("evidence: {}: cannot be deleted: {why}; the agent must own its state folder", path.display())]
    Evidence { path: PathBuf, why: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Deletes a folder of evidence. `root` has one folder for each station.
pub(super) fn delete(root: &Path, station: &str, folder: &str) -> Result<(), RetentionError> {
    let path = root.join(station).join(folder);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(RetentionError::Evidence { path, why: error })
        }
        _ => Ok(()),
    }
}

/// Deletes what a crash left behind below `root`: evidence folders of the station that no row names. Keeps folders with `present`
/// (the running boot) in their name, since their rows may not be committed yet. Asks `go_on` again and again meanwhile;
/// once that says no, the rest stays for the next start. Returns how many were deleted.
pub fn sweep(
    store: &StoreHandle,
    root: &Path,
    station: &str,
    present: &str,
    mut go_on: impl FnMut() -> bool,
) -> Result<usize, RetentionError> {
    let of_station = root.join(station);
    let failed = |why| RetentionError::Evidence { path: of_station.clone(), why };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&of_station).map_err(failed)? {
        if !go_on() {
            return Ok(0);
        }
        let name = entry.map_err(failed)?.file_name().into_string();
        folders.extend(name.ok().filter(|name| !name.contains(present)));
    }
    let mut swept = 0;
    for some in folders.chunks(LOOKED_UP) {
        if !go_on() {
            return Ok(swept);
        }
        for folder in store.unnamed(station, some.to_vec())? {
            if !go_on() {
                return Ok(swept);
            }
            delete(root, station, &folder)?;
            swept += 1;
        }
    }
    Ok(swept)
}
