//! Asking a running agent to stop, from a signal or from one of its own threads.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A request to stop, shared by everybody who may ask and everybody who must heed.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Asks for a stop; asking again changes nothing.
    pub fn request(&self) {
        let (requested, changed) = &*self.0;
        *requested.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    pub fn requested(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a stop, at most `limit`; whether there is one.
    pub fn wait(&self, limit: Duration) -> bool {
        let (requested, changed) = &*self.0;
        let lock = requested.lock().unwrap_or_else(PoisonError::into_inner);
        let (requested, _) = changed
            .wait_timeout_while(lock, limit, |requested| !*requested)
            .unwrap_or_else(PoisonError::into_inner);
        *requested
    }
}
