//! By what the log tells starts, stations and rows apart.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::inspection::Parameters;

/// Who inspects: one start of the agent, at one of its stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub boot_id: Uuid,
    pub station: Arc<str>,
}

/// What is known when a station starts.
#[derive(Debug)]
pub struct Boot<'a> {
    pub started_at: Timestamp,
    /// Of certiscope.
    pub version: &'a str,
    /// The station's configuration as it was read.
    pub configuration: &'a str,
    /// Where the bundle lay, absolute.
    pub bundle_folder: &'a Path,
    pub parameters: &'a Parameters,
}

/// A committed inspection's row: grows with every commit, over all boots and stations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub(super) i64);

impl RowId {
    /// Before every row.
    pub const START: Self = Self(0);

    /// After every row.
    pub const END: Self = Self(i64::MAX);

    /// A row made up for a test.
    #[cfg(test)]
    pub(crate) fn numbered(id: i64) -> Self {
        Self(id)
    }
}

/// What a commit gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub row: RowId,
    pub seq: u64,
}
