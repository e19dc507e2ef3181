//! What a fleet can have done.

use ironhorn_unix::{Monotonic, ToWorker};

use crate::report::Report;

/// A request that runs too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Where it runs.
    pub lane: usize,
    /// Which it is: the one that has been busy there since then. Any other is left alone.
    pub busy_since: Monotonic,
    /// What to log.
    pub report: Report,
}

/// What the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fork a worker.
    Fork {
        /// The slot.
        nr: usize,
        /// What it is to run.
        generation: u32,
    },
    /// Send a message to a worker.
    Tell {
        /// The slot.
        nr: usize,
        /// The message.
        message: ToWorker,
    },
    /// Send SIGKILL to a worker.
    Kill {
        /// The slot.
        nr: usize,
        /// Ask it for its stacks first, for the record of its death; it has a moment to answer.
        examine: bool,
    },
    /// Requests of a worker run too long: have their clients told 504 and write their reports, with
    /// the stacks of the worker as soon as they are there.
    Expire {
        /// The slot.
        nr: usize,
        /// Which, at least one.
        requests: Vec<Overdue>,
    },
    /// Set the flags on the board by which all workers say close, and are unready, while they go on
    /// accepting.
    AskToLeave,
    /// Measure the memory of these workers; answered by [`super::Event::Measured`] when all are
    /// measured, after other events.
    Measure {
        /// The slots.
        nrs: Vec<usize>,
    },
    /// Fork a zygote, which imports the app of this generation; answered by
    /// [`super::Event::ZygoteForked`] or [`super::Event::ZygoteForkFailed`].
    ForkZygote {
        /// Which.
        generation: u32,
    },
    /// Send SIGKILL to the zygote of this generation.
    KillZygote {
        /// Which.
        generation: u32,
    },
    /// Start a new master from disk on the same listeners; answered by
    /// [`super::Event::Upgrading`].
    Upgrade,
    /// Have settings read and listeners bound.
    Reload {
        /// For this generation.
        generation: u32,
    },
    /// What concerns the master itself follows this generation from now on: it is the one that
    /// serves.
    Adopt {
        /// Which.
        generation: u32,
    },
    /// Let a generation's listeners and settings go.
    DropGeneration {
        /// Which.
        generation: u32,
    },
    /// Open the log files again.
    ReopenLogs,
    /// Close the master's listeners.
    StopListening,
    /// Show the state.
    Describe(String),
    /// Write a log line.
    Report(Report),
    /// Leave with this code.
    Exit(i32),
}
