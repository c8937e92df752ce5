//! Whether a station is connected to its broker.

use jiff::Timestamp;

use super::broker::BrokerError;

/// Whether a station is connected to its broker, since when, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// The first try has not ended.
    Starting,
    Connected {
        since: Timestamp,
    },
    Disconnected {
        since: Timestamp,
        reason: BrokerError,
    },
}
