//! Where things are in a state folder.

use std::path::{Path, PathBuf};

/// The inspection log.
pub fn database(state_folder: &Path) -> PathBuf {
    state_folder.join("certiscope.db")
}

/// Holds a folder of evidence for each station.
pub fn evidence_folder(state_folder: &Path) -> PathBuf {
    state_folder.join("evidence")
}
