//! Why the agent did not start or did not go on, and whether starting it again may help.

use std::sync::{Arc, Mutex};

use crate::store::{StoreError, StoreErrorKind};
use crate::sync::lock;

/// Why the agent did not start, or did not go on.
#[derive(Debug)]
pub enum AgentError {
    /// Starting again cannot help: configuration, bundle, library, database.
    Refused(anyhow::Error),
    /// A fault that may pass: starting again may help.
    Stopped(anyhow::Error),
}

impl AgentError {
    /// An error before anything ran. Another agent on the log may be about to end: that is worth another try.
    pub(super) fn at_start(error: anyhow::Error) -> Self {
        match error.downcast_ref::<StoreError>().map(StoreError::kind) {
            Some(StoreErrorKind::InUse) => Self::Stopped(error),
            _ => Self::Refused(error),
        }
    }

    /// An error of a running agent. A log that is not sound will not be sound after a restart either.
    pub(super) fn while_running(error: anyhow::Error) -> Self {
        match error.downcast_ref::<StoreError>().map(StoreError::kind) {
            Some(StoreErrorKind::Corrupt) => Self::Refused(error),
            _ => Self::Stopped(error),
        }
    }
}

/// The fault that ends the agent. Shared by all that may find one.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstFault(Arc<Mutex<Option<AgentError>>>);

impl FirstFault {
    /// Logs a fault. The first one counts as the reason; what it brings down after it does not.
    pub(super) fn report(&self, fault: AgentError) {
        let (AgentError::Refused(error) | AgentError::Stopped(error)) = &fault;
        tracing::error!("{error:#}");
        lock(&self.0).get_or_insert(fault);
    }

    pub(super) fn take(&self) -> Option<AgentError> {
        lock(&self.0).take()
    }
}
