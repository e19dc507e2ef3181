//! Signals that come while the process runs code that may never return.
//!
//! Such code is asked to give way as far as its language lets it be asked. Where it does not, in C
//! code that has the interpreter, nothing but a signal handler runs any more; that one can only
//! end the process, and does so when somebody insists.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nix::sys::signal::Signal;
use signal_hook::low_level;

use super::{Arrivals, Signals};
use crate::clock::Monotonic;
use crate::fork::exit_now;

/// Who sends a signal again within this does not insist yet: the first may still be heeded.
const PATIENCE: Duration = Duration::from_secs(1);

const LAST_WORDS: &[u8] =
    b"ironhorn: code that does not return keeps the master from stopping; it ends at once\n";

/// What a process that can't read its signals was sent, and since when it can't.
#[derive(Clone, Debug)]
pub struct Unheeded {
    arrivals: Arc<Arrivals>,
    signals: Vec<Signal>,
    stretch: Arc<Stretch>,
}

/// A stretch of code that may never return.
#[derive(Debug)]
struct Stretch {
    /// When the first signal came; [`OUTSIDE`]: no such code runs; [`WITHIN`]: none has come.
    first_at: AtomicU64,
}

const OUTSIDE: u64 = 0;
const WITHIN: u64 = u64::MAX;

impl Signals {
    /// From now on, whoever sends one of `signals` to a process that is between
    /// [`Unheeded::begin`] and [`Unheeded::end`], and a second or more later another one, ends it
    /// with `code` (_exit(2)).
    pub fn end_if_unheeded(&mut self, signals: &[Signal], code: i32) -> io::Result<Unheeded> {
        let stretch = Arc::new(Stretch { first_at: AtomicU64::new(OUTSIDE) });
        for &signal in signals {
            let (stretch, arrivals) = (Arc::clone(&stretch), Arc::clone(&self.arrivals));
            let action = move || {
                if arrivals.are_ours() && stretch.is_overdue(Monotonic::now()) {
                    // Nobody is left to tell if this fails.
                    let _ = nix::unistd::write(io::stderr(), LAST_WORDS);
                    exit_now(code);
                }
            };
            // SAFETY: the action runs in a signal handler: it reads and writes an atomic that it
            // owns and calls getpid(2), clock_gettime(2), write(2) and _exit(2), all of them
            // async-signal-safe (signal-safety(7)); it takes no lock and allocates nothing.
            let id = unsafe { low_level::register(signal as i32, action) }?;
            self.exits.push(id);
        }
        Ok(Unheeded { arrivals: Arc::clone(&self.arrivals), signals: signals.to_vec(), stretch })
    }
}

impl Unheeded {
    /// Code begins that may never return.
    pub fn begin(&self) {
        self.stretch.first_at.store(WITHIN, Relaxed);
    }

    /// It has returned.
    pub fn end(&self) {
        self.stretch.first_at.store(OUTSIDE, Relaxed);
    }

    /// Whether one of the signals has come and was not read.
    pub fn is_asked(&self) -> bool {
        self.signals.iter().any(|&signal| self.arrivals.has(signal))
    }
}

impl Stretch {
    /// A signal has come. Whether another had before, long enough ago.
    fn is_overdue(&self, now: Monotonic) -> bool {
        match self.first_at.load(Relaxed) {
            OUTSIDE => false,
            WITHIN => {
                self.first_at.store(now.as_nanos(), Relaxed);
                false
            }
            first_at => now.since(Monotonic::from_nanos(first_at)) >= PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_insists_ends_code_that_runs() {
        let stretch = Stretch { first_at: AtomicU64::new(OUTSIDE) };
        let at = |millis: u64| Monotonic::from_nanos(millis * 1_000_000);
        assert!(!stretch.is_overdue(at(1)));
        assert!(!stretch.is_overdue(at(5_000)));
        stretch.first_at.store(WITHIN, Relaxed);
        assert!(!stretch.is_overdue(at(10_000)));
        assert!(!stretch.is_overdue(at(10_999)));
        assert!(stretch.is_overdue(at(11_000)));
    }
}
