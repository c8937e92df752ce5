//! The state folder: what the agent keeps between its starts, and where in it.

use std::path::PathBuf;

/// A state folder, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The inspection log.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("certiscope.db")
    }

    /// Holds a folder of evidence for each station.
    pub(crate) fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
}
