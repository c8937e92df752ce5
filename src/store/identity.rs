//! The keys of the log: which start of the agent, which station, which row.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::inspection::Parameters;

/// Where inspections come from: one start of the agent, at one of its stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub boot_id: Uuid,
    pub station: Arc<str>,
}

/// What is recorded when a station starts.
#[derive(Debug)]
pub struct Boot<'a> {
    pub started_at: Timestamp,
    /// The version of certiscope.
    pub version: &'a str,
    /// The station's configuration as it was read.
    pub configuration: &'a str,
    /// The folder of the bundle, absolute.
    pub bundle_folder: &'a Path,
    pub parameters: &'a Parameters,
}

/// The row number of a committed inspection. It grows with every commit, over all boots and stations.
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

/// The row and the sequence number of a committed inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub row: RowId,
    pub seq: u64,
}
