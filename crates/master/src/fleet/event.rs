//! What can happen to a fleet.

use ironhorn_unix::{Exit, Monotonic, Pid, Running};

use crate::{Options, command::Command};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The master is up: begin.
    Started,
    /// An [`super::Action::Fork`] succeeded: at once, or, out of a zygote, some time later.
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
    /// A worker that was to be killed while it booted serves already: it was not killed. Told once
    /// of a worker.
    Serves {
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
        /// Whether the kernel says that it killed for want of memory just now.
        out_of_memory: bool,
    },
    /// A worker has served as many requests as it should in its life. It goes on until it is told
    /// to leave.
    Worn {
        /// The slot.
        nr: usize,
    },
    /// Answer to [`super::Action::Measure`].
    Measured {
        /// Slot and bytes of memory that are the worker's own, of those that could be measured.
        memory: Vec<(usize, u64)>,
    },
    /// A zygote was forked; it imports the app.
    ZygoteForked {
        /// Of which generation.
        generation: u32,
        /// Its process id.
        pid: Pid,
    },
    /// A zygote could not be forked.
    ZygoteForkFailed {
        /// Of which generation.
        generation: u32,
        /// What the kernel said.
        error: String,
    },
    /// A zygote has imported the app: workers can be forked from it.
    ZygoteReady {
        /// Of which generation.
        generation: u32,
    },
    /// A zygote is gone. Forks that it hasn't answered have failed and were told so before.
    ZygoteExited {
        /// Of which generation.
        generation: u32,
        /// How it ended.
        exit: Exit,
        /// Whether the kernel says that it killed for want of memory just now.
        out_of_memory: bool,
    },
    /// Answer to [`super::Action::Upgrade`]: the new master's process id, or why there is none.
    Upgrading {
        /// Its process id.
        result: Result<Pid, String>,
    },
    /// The new master that this one started is gone.
    UpgradeExited {
        /// How it ended.
        exit: Exit,
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
    /// How many lanes it has. With more than one its loop turns while the app runs.
    pub lanes: usize,
    /// The requests that the app runs. Those have a name that [can be
    /// overdue](super::Fleet::can_be_overdue).
    pub running: Vec<Running>,
}
