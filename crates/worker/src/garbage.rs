//! What was dropped where it couldn't be freed.
//!
//! Chunks are the app's objects, and with app threads they are dropped by threads that don't hold
//! the interpreter: by the loop, and by app threads that send. They are freed when an app thread
//! comes by the interpreter next, which need not be soon. So who has dropped more than a little sees
//! to it before it goes to sleep.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What may be left for the next request to free, in bytes: not worth waking a thread for.
const LITTLE: usize = 64 << 10;

/// Bytes that were dropped and not freed.
#[derive(Debug, Default)]
pub(crate) struct Garbage(AtomicUsize);

impl Garbage {
    /// So much was dropped just now.
    pub(crate) fn add(&self, bytes: usize) {
        if bytes > 0 {
            self.0.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    /// Whether it is more than a little.
    pub(crate) fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > LITTLE
    }

    /// A thread is about to come by the interpreter. What is dropped from here on is counted anew,
    /// although that thread may free it too.
    pub(crate) fn forget(&self) {
        if self.0.load(Ordering::Relaxed) > 0 {
            self.0.swap(0, Ordering::AcqRel);
        }
    }
}
