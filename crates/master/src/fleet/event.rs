//! What can happen to a fleet.

use ironhorn_unix::{Exit, Monotonic, Pid};

use crate::{Options, command::Command};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The master is up: begin.
    Started,
    /// An [`super::Action::Fork`] succeeded.
    Forked {
        /// The slot.
        nr: usize,
        /// The worker's process id.
        pid: Pid,
    },
    /// An [`super::Action::Fork`] failed.
    ForkFailed {
        /// The slot.
        nr: usize,
        /// What the kernel said.
        error: String,
    },
    /// A worker says that it serves.
    Ready {
        /// The slot.
        nr: usize,
    },
    /// A worker says that it takes no more connections.
    Draining {
        /// The slot.
        nr: usize,
    },
    /// A worker's end of the channel is closed; it may be about to be reaped.
    ChannelClosed {
        /// The slot.
        nr: usize,
    },
    /// A worker was reaped.
    Exited {
        /// The slot.
        nr: usize,
        /// How it ended.
        exit: Exit,
        /// How many requests it had served.
        requests: u64,
    },
    /// A signal.
    Commanded(Command),
    /// An [`super::Action::Reload`] was carried out.
    Reloaded {
        /// The new generation.
        generation: u32,
        /// Its options, or why there is none.
        result: Result<Options, String>,
        /// The generations alive all of whose listeners are also the new one's.
        kept: Vec<u32>,
    },
    /// A deadline may have passed ([`super::Fleet::next_deadline`]).
    Woke {
        /// What the board says of each worker, in any order.
        board: Vec<Glance>,
    },
}

/// What the board says of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// The slot.
    pub nr: usize,
    /// Its last sign of life.
    pub heartbeat: Monotonic,
    /// Since when its oldest request has made no progress.
    pub busy_since: Option<Monotonic>,
    /// That request: "GET /path".
    pub request: String,
}
