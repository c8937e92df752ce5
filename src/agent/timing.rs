//! What all stages share: how long they wait at most before they look for a stop.

use std::time::Duration;

/// How long a stage waits for something to do before it checks for a stop.
pub(super) const WAIT: Duration = Duration::from_millis(100);
