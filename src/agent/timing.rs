//! A time limit that all stages share.

use std::time::Duration;

/// How long a stage waits at most for something to do before it checks for a stop.
pub(super) const WAIT: Duration = Duration::from_millis(100);
