//! The state folder: what the agent keeps between its starts, and where in it.

use std::path::{Path, PathBuf};

/// A state folder, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The inspection log.
    pub fn database(&self) -> PathBuf {
        self.0.join("certiscope.db")
    }

    /// Holds a folder of evidence for each station.
    pub fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
}
