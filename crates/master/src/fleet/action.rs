//! What a fleet can have done.

use ironhorn_unix::ToWorker;

use crate::report::Report;

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
    },
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
