//! Supervision: one master keeps a fleet of forked workers at strength.
//!
//! ```text
//!  signal ─► Signals ─► Command ─┐
//!  operator ─► control ─► Command┤
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

mod birth;
mod black_box;
pub mod command;
mod control;
pub mod fleet;
pub mod report;
mod respawn;
pub mod slot;
mod supervisor;
mod zygote;

use std::{
    os::{fd::BorrowedFd, unix::net::UnixListener},
    time::Duration,
};

use ironhorn_unix::{Board, BoardSlot, ForkHooks, Monotonic, Pid, Signals, StackFile, WorkerEnd};

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
    /// How many boot at a time until the first one serves (at least 1): as many as there are CPUs.
    pub boots_abreast: usize,
    /// How many workers of a new generation boot at a time (at least 1).
    pub reload_surge: usize,
    /// Above it, in bytes, a worker is replaced.
    pub max_memory: Option<u64>,
    /// Above it, in bytes, a worker is killed.
    pub max_memory_hard: Option<u64>,
    /// The longest that a worker serves before it is replaced.
    pub max_lifetime: Option<Duration>,
    /// Whether the app is imported once, by a zygote, from which workers are forked.
    pub preload: bool,
    /// How long a graceful stop waits, with the workers unready, before they stop accepting.
    pub shutdown_delay: Duration,
    /// Whether a start that fails waits for the next reload instead of ending the server.
    pub keep_trying: bool,
}

/// Where the master is told what to do.
pub struct Inputs {
    /// Those of [`command::master_signals`], installed by the host before it announced itself: so
    /// no signal can come too early.
    pub signals: Signals,
    /// Where operators connect, if they may.
    pub control: Option<UnixListener>,
}

/// What a server says of itself when an operator asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its own version.
    pub version: String,
    /// The app, as it was named.
    pub app: String,
    /// Where relative paths start.
    pub directory: String,
    /// The addresses that it listens on.
    pub listeners: Vec<String>,
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

    /// What must happen around each fork. What is for the child runs before [`Host::run_worker`] or
    /// [`Host::preload`], signals let through.
    fn fork_hooks(&self) -> &dyn ForkHooks;

    /// Becomes a zygote: imports the app of its generation, so that [`Host::run_worker`] finds it
    /// in processes forked from this one. Called in the zygote.
    ///
    /// # Errors
    /// The process's exit code; the reason was logged.
    fn preload(&mut self, zygote: &ZygoteSeat) -> Result<(), i32>;

    /// A worker of `generation` died while it was in `request` ("GET /path"), for `age`; its client
    /// was sent `status`, if it was sent anything.
    fn request_lost(
        &mut self,
        _generation: u32,
        _request: &str,
        _age: Duration,
        _status: Option<u16>,
    ) {
    }

    /// A worker of `generation` died before it had written these lines of the access log.
    fn log_lines_left(&mut self, _generation: u32, _lines: &[u8]) {}

    /// Worker `nr` is about to be forked.
    fn before_fork(&mut self, _nr: usize, _generation: u32) {}

    /// Something was reported. Called after the log line was written.
    fn observe(&mut self, _report: &report::Report) {}

    /// Starts a new master from disk, which inherits the listeners.
    ///
    /// # Errors
    /// Says why there is none.
    fn upgrade(&mut self) -> Result<Pid, String> {
        Err("not supported".to_owned())
    }

    /// The new master is gone: what was handed over to it, such as the pid file, is taken back.
    fn take_back(&mut self) {}

    /// A descriptor that is readable when [`Host::attend`] is to be called, which leaves nothing to
    /// read. Asked once.
    fn attention(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does what is due, such as telling a watchdog that the master lives: whenever
    /// [`Host::attention`] is readable and at the time that it said last.
    fn attend(&mut self, _now: Monotonic) -> Attended {
        Attended::default()
    }

    /// Why a process of `generation` could not boot, if one has said so since this was asked last.
    fn boot_error(&mut self, _generation: u32) -> Option<String> {
        None
    }

    /// What the serving generation is, for an operator who asks.
    fn about(&self) -> About {
        About::default()
    }

    /// Opens the log files again (they were moved away).
    fn reopen_logs(&mut self);

    /// A stop begins: the master's own listeners close, files of unix sockets are unlinked.
    fn stop_listening(&mut self);

    /// Whether another master serves on the same listeners. Then workers that stop leave as in a
    /// reload: idle clients are not cut off, but told with their next response.
    fn has_heirs(&self) -> bool {
        false
    }

    /// Shows the state, for instance as the process title: "4 workers, generation 2".
    fn describe(&mut self, _state: &str) {}
}

/// What [`Host::attend`] asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attended {
    /// When it is to be called again, if not before.
    pub again: Option<Monotonic>,
    /// Whether sources have changed and a reload is wanted.
    pub reload: bool,
}

/// What a zygote is given.
pub struct ZygoteSeat {
    /// The version of settings and code that it imports.
    pub generation: u32,
    /// The whole board.
    pub board: Board,
    /// Where its stacks are written.
    pub stacks: StackFile,
    /// The master's process id.
    pub master: Pid,
}

/// What a worker is given: everything it shares with its master.
pub struct WorkerSeat {
    /// Number of the slot, from 1: the `worker` of the log lines.
    pub nr: usize,
    /// The version of settings and code that it runs.
    pub generation: u32,
    /// The wire to the master; end of file means that the master is gone.
    pub channel: WorkerEnd,
    /// The worker's own signal pipe, for [`command::WORKER_SIGNALS`]; INT and QUIT end it at once.
    pub signals: Signals,
    /// Its line on the board.
    pub slot: BoardSlot,
    /// The whole board.
    pub board: Board,
    /// Where its stacks are written: a file of the master's.
    pub stacks: StackFile,
    /// The master's process id.
    pub master: Pid,
}
