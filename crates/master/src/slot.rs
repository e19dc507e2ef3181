//! One worker as the master sees it.
//!
//! ```text
//!            fork              Ready              retired, or drains by itself
//!  Empty ─► Forking ─► Booting ─────► Ready ─────────────────► Retiring
//!    ▲                    │             ├─ stop ─► Stopping ◄─ stop ─┤
//!    │                    └── SIGKILL ──┴─────► Killed ◄─────────────┘
//!    └──────────────────────── exited (from any of them) ────────────
//! ```
//!
//! The master's view is not the worker: a slot changes when the master *asks*, and is free again
//! only when the process has been reaped, so that two processes can never share a number.

use ironhorn_unix::{Monotonic, Pid};

use crate::report::Reason;

/// A process that was forked and not reaped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its process id.
    pub pid: Pid,
    /// The version of settings and code that it runs.
    pub generation: u32,
    /// When it was forked.
    pub forked_at: Monotonic,
    /// When it closed its end of the channel without exiting, if it did.
    pub lost_at: Option<Monotonic>,
    /// Why it is to be replaced when its turn comes, if it is.
    pub worn: Option<Reason>,
}

/// How a worker came to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retirement {
    /// Why.
    pub reason: Reason,
    /// When it was asked, or began by itself.
    pub since: Monotonic,
}

impl Retirement {
    /// What is said of it if it is killed for `reason` in the end: the first cause counts.
    pub(crate) fn killed(&self, reason: Reason) -> Reason {
        if self.reason == Reason::Timeout { Reason::Timeout } else { reason }
    }
}

/// A place for one worker. Its number stays when the process in it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Nobody is here.
    Empty {
        /// When the last one left, if nobody asked it: its replacement belongs here.
        owed: Option<Monotonic>,
    },
    /// A fork was asked for and has not been answered.
    Forking {
        /// What the worker is to run.
        generation: u32,
        /// When it was asked for.
        since: Monotonic,
    },
    /// Forked; importing the app.
    Booting {
        /// Who.
        worker: Worker,
    },
    /// Serving.
    Ready {
        /// Who.
        worker: Worker,
        /// When it became ready.
        since: Monotonic,
        /// The earliest moment at which it can have overrun its timeout.
        check_at: Option<Monotonic>,
    },
    /// Finishing what it has; others serve.
    Retiring {
        /// Who.
        worker: Worker,
        /// Why and since when.
        retirement: Retirement,
        /// When its requests are to be looked at.
        check_at: Option<Monotonic>,
    },
    /// Finishing what it has; the server ends.
    Stopping {
        /// Who.
        worker: Worker,
        /// Why and since when.
        retirement: Retirement,
        /// When its requests are to be looked at.
        check_at: Option<Monotonic>,
    },
    /// Sent SIGKILL; will be reaped soon.
    Killed {
        /// Who.
        worker: Worker,
        /// Why.
        reason: Reason,
    },
}

impl Slot {
    /// An empty slot that owes nothing.
    pub const EMPTY: Self = Self::Empty { owed: None };

    /// Who is here, from the fork until it is reaped.
    #[must_use]
    pub fn worker(&self) -> Option<&Worker> {
        match self {
            Self::Empty { .. } | Self::Forking { .. } => None,
            Self::Booting { worker }
            | Self::Ready { worker, .. }
            | Self::Retiring { worker, .. }
            | Self::Stopping { worker, .. }
            | Self::Killed { worker, .. } => Some(worker),
        }
    }

    /// As [`Slot::worker`], to change.
    pub(crate) fn worker_mut(&mut self) -> Option<&mut Worker> {
        match self {
            Self::Empty { .. } | Self::Forking { .. } => None,
            Self::Booting { worker }
            | Self::Ready { worker, .. }
            | Self::Retiring { worker, .. }
            | Self::Stopping { worker, .. }
            | Self::Killed { worker, .. } => Some(worker),
        }
    }

    /// What runs here, or is about to.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        match self {
            Self::Forking { generation, .. } => Some(*generation),
            _ => self.worker().map(|worker| worker.generation),
        }
    }

    /// One word for its state.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::Forking { .. } => "forking",
            Self::Booting { .. } => "booting",
            Self::Ready { .. } => "ready",
            Self::Retiring { .. } => "retiring",
            Self::Stopping { .. } => "stopping",
            Self::Killed { .. } => "killed",
        }
    }

    /// Since when it has been ready, if it is.
    #[must_use]
    pub fn ready_since(&self) -> Option<Monotonic> {
        match self {
            Self::Ready { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// Whether a worker could be put here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty { .. })
    }

    /// Whether it serves and was not asked to leave.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    /// Whether it will serve once it is ready.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        matches!(self, Self::Forking { .. } | Self::Booting { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Worker = Worker {
        pid: Pid::from_raw(7),
        generation: 3,
        forked_at: Monotonic::from_nanos(1),
        lost_at: None,
        worn: None,
    };

    #[test]
    fn a_slot_has_a_generation_from_the_moment_of_the_decision_to_fork() {
        assert_eq!(Slot::EMPTY.generation(), None);
        let since = Monotonic::from_nanos(1);
        assert_eq!(Slot::Forking { generation: 3, since }.generation(), Some(3));
        assert_eq!(Slot::Booting { worker: WORKER }.generation(), Some(3));
    }

    #[test]
    fn a_slot_is_taken_until_its_worker_is_reaped() {
        let killed = Slot::Killed { worker: WORKER, reason: Reason::Timeout };
        assert!(!killed.is_empty());
        assert_eq!(killed.worker(), Some(&WORKER));
        assert!(Slot::Empty { owed: Some(Monotonic::from_nanos(9)) }.is_empty());
    }
}
