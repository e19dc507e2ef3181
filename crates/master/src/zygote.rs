//! A zygote's life: imports the app once, then forks workers from itself when the master asks.
//!
//! ```text
//!  master ── fork ──► zygote ── imports ──► Ready ──► Fork{nr} ──► Forked{nr, pid} ─┐
//!    │                                                    ▲                         │
//!    │                                                    └─────────────────────────┘
//!    └──── parent of, welcomes ──► worker, forked as an orphan ◄────┘
//! ```
//!
//! A worker does nothing until the master has welcomed it: were its zygote to die before it could
//! tell of it, nobody would know that it is there, and its slot would be given to another.
//!
//! It serves nothing and decides nothing. Only the master ends it: by SIGKILL, by closing the
//! channel, or by dying. Signals that are meant for the server, such as those that a terminal sends
//! to everybody in it, are caught and without effect: were they ignored, programs that the app
//! starts would ignore them too.

use std::{
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use ironhorn_unix::{
    BlockedSignals, Board, Forked, FromZygote, Pid, Received, Signal, Signals, StackFile, ToZygote,
    WorkerEnd, ZygoteEnd, die_with_parent, fork_orphan, wait_for_parent,
};
use log::{debug, error, warn};

use crate::{
    ExitCode, Host, ZygoteSeat,
    birth::Birth,
    command::{WORKER_COMMANDS, WORKER_SIGNALS},
};

/// Between the fork of a worker and the moment at which it is the master's child, a process has
/// only to exit.
const ADOPTION: Duration = Duration::from_secs(3);

/// An error that names none of the system's (errno(3)).
const EIO: i32 = 5;

/// What a new zygote keeps of its master.
pub(crate) struct Zygote {
    pub(crate) generation: u32,
    pub(crate) channel: ZygoteEnd,
    pub(crate) stacks: StackFile,
    pub(crate) mask: BlockedSignals,
    pub(crate) signals: Signals,
    pub(crate) board: Board,
    pub(crate) master: Pid,
}

impl Zygote {
    /// Is the zygote, or a worker that was forked from it; returns the process's exit code.
    pub(crate) fn live(self, host: &mut dyn Host) -> i32 {
        let Self { generation, channel, stacks, mask, signals, board, master } = self;
        let mut signals = match signals.rebuild(&WORKER_SIGNALS) {
            Ok(signals) => signals,
            Err(error) => {
                error!(generation, reason:% = error; "cannot take signals");
                return ExitCode::RUNTIME;
            }
        };
        if let Err(error) = die_with_parent(master, Signal::SIGKILL) {
            error!(generation, reason:% = error; "the master is gone");
            return ExitCode::RUNTIME;
        }
        mask.unblock();
        let seat = ZygoteSeat { generation, board: board.clone(), stacks, master };
        // As in a worker: what the hook starts inherits the mask.
        let import = || {
            host.fork_hooks().after_in_child();
            host.preload(&seat)
        };
        match catch_unwind(AssertUnwindSafe(import)) {
            Ok(Ok(())) => {}
            Ok(Err(code)) => return code,
            Err(_) => return ExitCode::RUNTIME,
        }
        for signal in signals.reclaim(&WORKER_COMMANDS) {
            warn!(generation, signal:% = signal; "the app's handler for this signal is not used: it is the server's");
        }
        // Whoever gives up rights gives this up too (prctl(2)).
        if let Err(error) = die_with_parent(master, Signal::SIGKILL) {
            error!(generation, reason:% = error; "the master is gone");
            return ExitCode::RUNTIME;
        }
        match serve(&channel, host) {
            Ok(None) => ExitCode::OK,
            Ok(Some(Newborn { nr, channel: to_master, stacks, mask })) => {
                drop((channel, seat));
                // Until then the slot, its line on the board included, may be given to another.
                if !to_master.is_welcome().unwrap_or(false) {
                    debug!(worker = nr, generation; "the master does not know of this worker");
                    return ExitCode::RUNTIME;
                }
                if let Err(error) = wait_for_parent(master, ADOPTION) {
                    error!(worker = nr, generation, reason:% = error; "the master is gone");
                    return ExitCode::RUNTIME;
                }
                let channel = to_master;
                Birth { nr, generation, channel, stacks, mask, signals, board, master }.live(host)
            }
            Err(error) => {
                error!(generation, reason:% = error; "the zygote cannot hear the master");
                ExitCode::RUNTIME
            }
        }
    }
}

/// This process is a new worker.
struct Newborn {
    nr: usize,
    channel: WorkerEnd,
    stacks: StackFile,
    mask: BlockedSignals,
}

/// Forks what it is asked for, until the master is gone.
fn serve(channel: &ZygoteEnd, host: &mut dyn Host) -> io::Result<Option<Newborn>> {
    channel.send(FromZygote::Ready)?;
    loop {
        channel.wait()?;
        let (ToZygote::Fork { nr }, shared) = match channel.receive_with_fds()? {
            (Received::Message(message), shared) => (message, shared),
            (Received::Nothing, _) => continue,
            (Received::Closed, _) => return Ok(None),
        };
        let answer = match give_birth(shared, host) {
            Ok(Born::There(pid)) => FromZygote::Forked { nr, pid },
            Ok(Born::Here(channel, stacks, mask)) => {
                return Ok(Some(Newborn { nr: nr as usize, channel, stacks, mask }));
            }
            Err(error) => {
                debug!(worker = nr, reason:% = error; "the zygote cannot fork");
                FromZygote::ForkFailed { nr, errno: error.raw_os_error().unwrap_or(EIO) }
            }
        };
        tell(channel, answer)?;
    }
}

/// A master that is busy has not read the last answers: there is time.
fn tell(channel: &ZygoteEnd, answer: FromZygote) -> io::Result<()> {
    const STEP: Duration = Duration::from_millis(1);
    loop {
        match channel.send(answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(STEP),
            told => return told,
        }
    }
}

enum Born {
    There(Pid),
    Here(WorkerEnd, StackFile, BlockedSignals),
}

fn give_birth(shared: io::Result<Vec<OwnedFd>>, host: &mut dyn Host) -> io::Result<Born> {
    let [channel, stacks] = <[OwnedFd; 2]>::try_from(shared?)
        .map_err(|shared| io::Error::other(format!("{} descriptors for a worker", shared.len())))?;
    let stacks = StackFile::from_fd(stacks)?;
    Ok(match fork_orphan(host.fork_hooks())? {
        Forked::Parent { child } => Born::There(child),
        Forked::Child { mask } => Born::Here(WorkerEnd::from_fd(channel), stacks, mask),
    })
}
