//! Whether threads that have nothing to do could do anything.
//!
//! C code that holds the interpreter's lock keeps every thread of its process from running the app.
//! The worker looks as if it had free threads then, but what it accepts waits as well.

use std::time::Duration;

use ironhorn_unix::Monotonic;

/// Twice what a thread waits for the interpreter at most while another computes, by default
/// (`sys.setswitchinterval`).
const LONG: Duration = Duration::from_millis(10);

/// What is known of the threads that wait for the interpreter.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Since when some wait and none comes by it.
    since: Option<Monotonic>,
    entered: usize,
    lasts: bool,
}

impl Stall {
    /// Whether none has come by it for long.
    pub(super) fn lasts(&self) -> bool {
        self.lasts
    }

    /// Whether it is to be looked again soon.
    pub(super) fn may_last(&self) -> bool {
        self.since.is_some()
    }

    /// Whether a thread waits for the interpreter now, and how often one has come by it so far.
    pub(super) fn see(&mut self, waits: bool, entered: usize, now: Monotonic) {
        if !waits || entered != self.entered {
            self.since = None;
        }
        self.entered = entered;
        if waits {
            self.since.get_or_insert(now);
        }
        self.lasts = self.since.is_some_and(|since| now.since(since) >= LONG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_when_nobody_gets_on() {
        let at = |millis: u64| Monotonic::from_nanos(millis * 1_000_000);
        let mut stall = Stall::default();
        let mut see = |waits, entered, millis| {
            stall.see(waits, entered, at(millis));
            (stall.may_last(), stall.lasts())
        };
        assert_eq!(see(false, 0, 0), (false, false));
        assert_eq!(see(true, 0, 5), (true, false));
        assert_eq!(see(true, 1, 20), (true, false), "one has got on");
        assert_eq!(see(true, 1, 29), (true, false));
        assert_eq!(see(true, 1, 30), (true, true));
        assert_eq!(see(true, 1, 500), (true, true));
        assert_eq!(see(true, 2, 501), (true, false));
        assert_eq!(see(false, 3, 900), (false, false));
    }
}
