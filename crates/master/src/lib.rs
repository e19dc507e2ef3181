//! Supervision: one master keeps a fleet of forked workers at strength.
//!
//! ```text
//!  signal ─► Signals ─► Command ─┐
//!  worker ─► Channel ─► Ready…  ─┼─► Event ─► Fleet::handle ─► Action ─► fork, message, SIGKILL
//!  SIGCHLD ─► reap ───► Exited  ─┘           (pure policy)              log line, Host call
//! ```
//!
//! [`fleet::Fleet`] decides and does nothing; the supervisor does and decides nothing. Time is an
//! argument of every decision, so the policy is tested by simulation, without a process and
//! without sleeping. The [`Host`] is the door upwards: it knows settings, listeners and the app,
//! of which nothing is known here.
//!
//! The master has one thread and never blocks: fork(2) of a process with threads would copy locks
//! that nobody is left to open.

#![forbid(unsafe_code)]

pub mod command;
pub mod fleet;
pub mod report;
mod respawn;
pub mod slot;
mod supervisor;

use std::time::Duration;

use ironhorn_unix::{BlockedSignals, Board, BoardSlot, ForkHooks, Pid, Signals, WorkerEnd};

pub use supervisor::run;

/// What a process of the server says by exiting; a master's and a worker's codes are one table.
pub struct ExitCode;

impl ExitCode {
    /// Stopped as asked.
    pub const OK: i32 = 0;
    /// A runtime error.
    pub const RUNTIME: i32 = 1;
    /// A worker could not boot.
    pub const BOOT_FAILED: i32 = 3;
    /// The app was not found or cannot be called.
    pub const APP_NOT_FOUND: i32 = 4;
}

/// The settings of one generation that matter to supervision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many workers serve.
    pub workers: usize,
    /// The longest that a request may run without progress; none: for ever.
    pub timeout: Option<Duration>,
    /// The longest that a worker may take to leave once it was asked to.
    pub graceful_timeout: Duration,
    /// The longest that a worker may take to become ready; none: for ever.
    pub boot_timeout: Option<Duration>,
    /// How many workers of a new generation boot at a time (at least 1).
    pub reload_surge: usize,
}

/// What the master needs of the server around it.
pub trait Host {
    /// Reads the settings again and binds new listeners for `generation`. What concerns the
    /// master itself, such as its log, waits for [`Host::adopt`]: the generation may not boot.
    ///
    /// # Errors
    /// Says why not; then nothing has changed. The master logs it, once.
    fn reload(&mut self, generation: u32) -> Result<Options, String>;

    /// `generation` has taken over: the master's own log, pid file and so on follow its settings.
    fn adopt(&mut self, generation: u32);

    /// No worker of `generation` is left and none will come: its listeners and settings may go.
    fn drop_generation(&mut self, generation: u32);

    /// Whether every listener of `old` is also one of `new`. Then a worker of `old` that retires
    /// need not take what the kernel has queued: workers of `new` will.
    fn keeps_listeners(&self, old: u32, new: u32) -> bool;

    /// Is the worker: boots the app and serves until told to leave. Called in the child; the
    /// process ends with the code that it returns.
    fn run_worker(&mut self, worker: WorkerSeat) -> i32;

    /// What must happen around each fork.
    fn fork_hooks(&self) -> &dyn ForkHooks;

    /// A worker of `generation` died while it was in `request` ("GET /path"), for `age`.
    fn request_lost(&mut self, _generation: u32, _request: &str, _age: Duration) {}

    /// Opens the log files again (they were moved away).
    fn reopen_logs(&mut self);

    /// A stop begins: the master's own listeners close, files of unix sockets are unlinked.
    fn stop_listening(&mut self);

    /// Shows the state, for instance as the process title: "4 workers, generation 2".
    fn describe(&mut self, _state: &str) {}
}

/// What a worker is given: everything it shares with its master.
pub struct WorkerSeat {
    /// Number of the slot, from 1: the `worker` of the log lines.
    pub nr: usize,
    /// The version of settings and code that it runs.
    pub generation: u32,
    /// The wire to the master; end of file means that the master is gone.
    pub channel: WorkerEnd,
    /// The worker's own signal pipe, for [`command::WORKER_SIGNALS`].
    pub signals: Signals,
    /// Its line on the board.
    pub slot: BoardSlot,
    /// The whole board.
    pub board: Board,
    /// Signals are held back since before the fork; to be let through when the worker can take
    /// them.
    pub mask: BlockedSignals,
    /// The master's process id.
    pub master: Pid,
}
