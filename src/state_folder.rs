//! The state folder: the paths of what the agent keeps between its starts.

use std::path::PathBuf;

/// A state folder, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The path of the inspection log.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("certiscope.db")
    }

    /// The path of the folder with the evidence; it has one folder for each station.
    pub(crate) fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
}
