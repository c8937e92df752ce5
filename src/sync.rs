//! Taking a lock.
//!
//! Guarantees: a lock that another thread held while it panicked can still be taken; a panic ends the process, so
//! nobody works on with what it left.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
