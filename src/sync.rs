//! Locks that outlive a panic: a thread that failed is started again and must find them usable.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a panicking thread left is taken as it is. All that stands behind our locks is replaced whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
