//! Locks a mutex, or waits on a condition variable, also after a panic of another thread.
//!
//! Guarantees: neither panics. A mutex is poisoned when a thread panics while it holds the lock. Ignoring that is safe
//! here, because a panic ends the process.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks `mutex`; waits if another thread holds the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `changed` while `waits` is true of what `guard` protects, at most `limit`.
pub(crate) fn wait_while<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Duration,
    waits: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_timeout_while(guard, limit, waits).unwrap_or_else(PoisonError::into_inner).0
}
