//! Threads, what they share, and what outlives a panic. A panic is a bug of ours; it is reported, and the thread goes on.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// A thread that failed goes on after this time, so that a lasting fault makes no tight loop.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Locks; what a panicking thread left is taken as it is. All that stands behind our locks is replaced whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of things that threads may take and must give back.
#[derive(Debug, Default)]
pub struct Pool(AtomicIsize);

/// One of a [`Pool`], given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Pool>);

impl Pool {
    /// There are so many more, or fewer.
    pub fn add(&self, more: isize) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes one, if there is one.
    pub fn take(self: &Arc<Pool>) -> Option<Permit> {
        let fewer = |left: isize| Some(left - 1).filter(|left| *left >= 0);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        taken.ok().map(|_| Permit(Arc::clone(self)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

/// What threads hand to others, in order. (Events for the writer go by that of std, which does more, and is 5 KB of code for
/// each kind of thing.)
#[derive(Debug)]
pub struct Channel<T> {
    items: Mutex<VecDeque<T>>,
    came: Condvar,
}

impl<T> Default for Channel<T> {
    fn default() -> Channel<T> {
        Channel { items: Mutex::default(), came: Condvar::new() }
    }
}

impl<T> Channel<T> {
    /// Adds one at the end. Never blocks.
    pub fn put(&self, item: T) {
        lock(&self.items).push_back(item);
        self.came.notify_one();
    }

    /// The same, if fewer than `most` are in it; else it is given back.
    pub fn put_below(&self, most: usize, item: T) -> Result<(), T> {
        let mut items = lock(&self.items);
        if items.len() >= most {
            return Err(item);
        }
        items.push_back(item);
        self.came.notify_one();
        Ok(())
    }

    /// Takes the first, if there is one.
    pub fn take(&self) -> Option<T> {
        lock(&self.items).pop_front()
    }

    /// Takes the first, and waits for it, for `limit` at most; without a limit it is never None.
    pub fn wait(&self, limit: Option<Duration>) -> Option<T> {
        let waited =
            self.came.wait_timeout_while(lock(&self.items), limit.unwrap_or(Duration::MAX), |items| items.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }
}

/// Starts a thread. Errors: none could be made; the caller says so.
// What std does for each kind of body is 700 bytes of code.
pub fn spawn(thread: thread::Builder, body: Box<dyn FnOnce() + Send>) -> io::Result<Thread> {
    thread.spawn(body).map(|handle| handle.thread().clone())
}

/// Starts a thread of this name that runs `body` until it returns; see [`keep_running`]. Errors: as [`spawn`].
pub fn start(name: &str, body: impl FnMut() + Send + 'static) -> io::Result<Thread> {
    let mut body: Box<dyn FnMut() + Send> = Box::new(body);
    let run = move || keep_running(&mut body, |_| ());
    spawn(thread::Builder::new().name(name.to_owned()), Box::new(run))
}

/// Runs `body` until it returns; when it panics, `report` gets the message and it is run again after a second.
pub fn keep_running(mut body: impl FnMut(), mut report: impl FnMut(String)) {
    while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut body)) {
        report(message(panic.as_ref()));
        thread::sleep(RESTART_AFTER);
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// From now on a panic is one line, with its place, which `tell` gets in the thread that panicked, instead of the
/// standard report of many.
pub fn report_panics(tell: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("?");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = message(panic.payload()).replace(char::is_control, " ");
        tell(&format!("a bug, please report: thread {name} failed at {place}: {text}"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_can_be_taken_again() {
        let pool = Arc::new(Pool::default());
        assert!(pool.take().is_none());
        pool.add(2);
        let (one, two) = (pool.take(), pool.take());
        assert!(one.is_some() && two.is_some() && pool.take().is_none());
        drop(one);
        assert!(pool.take().is_some(), "taken, and given back at once");
        pool.add(-2);
        assert!(pool.take().is_none(), "one is given back to a pool that owes it");
        drop(two);
        assert!(pool.take().is_none());
    }
}
