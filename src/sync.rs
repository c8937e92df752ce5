//! Locks a mutex, also one that is poisoned.
//!
//! Guarantees: it never panics. A mutex is poisoned when a thread panics while it holds the lock. Ignoring that is safe
//! here, because a panic ends the process.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`; waits if another thread holds the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
