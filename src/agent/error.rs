//! Why the agent did not start or did not continue, and whether starting it again may help.

use std::sync::{Arc, Mutex};

use crate::store::{StoreError, StoreErrorKind};
use crate::sync::lock;

/// Why the agent did not start, or did not continue.
#[derive(Debug)]
pub enum AgentError {
    /// Starting again cannot help: configuration, bundle, library, database.
    Refused(anyhow::Error),
    /// A fault that may pass: starting again may help.
    Stopped(anyhow::Error),
}

impl AgentError {
    /// Classifies an error from before any thread ran. If another agent uses the log, it may be about to end, so starting again
    /// may help.
    pub(super) fn at_start(error: anyhow::Error) -> Self {
        match error.downcast_ref::<StoreError>().map(StoreError::kind) {
            Some(StoreErrorKind::InUse) => Self::Stopped(error),
            _ => Self::Refused(error),
        }
    }

    /// Classifies an error of a running agent. A damaged log is still damaged after a restart.
    pub(super) fn while_running(error: anyhow::Error) -> Self {
        match error.downcast_ref::<StoreError>().map(StoreError::kind) {
            Some(StoreErrorKind::Corrupt) => Self::Refused(error),
            _ => Self::Stopped(error),
        }
    }
}

/// The fault that ends the agent. Shared by all threads that may report one.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstFault(Arc<Mutex<Option<AgentError>>>);

impl FirstFault {
    /// Logs a fault. The first one is the reason why the agent ends; later ones may only be its consequences.
    pub(super) fn report(&self, fault: AgentError) {
        let (AgentError::Refused(error) | AgentError::Stopped(error)) = &fault;
        tracing::error!("{error:#}");
        lock(&self.0).get_or_insert(fault);
    }

    pub(super) fn take(&self) -> Option<AgentError> {
        lock(&self.0).take()
    }
}
