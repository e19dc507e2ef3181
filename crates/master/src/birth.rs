//! A new worker's first steps, from the fork until it is the host's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ironhorn_unix::{
    BlockedSignals, Board, Pid, Signal, Signals, StackFile, WorkerEnd, die_with_parent,
};
use log::error;

use crate::{ExitCode, Host, WorkerSeat, command::WORKER_SIGNALS};

/// What a new worker keeps of the process that it was forked from: the master, or a zygote.
pub(crate) struct Birth {
    pub(crate) nr: usize,
    pub(crate) generation: u32,
    pub(crate) channel: WorkerEnd,
    pub(crate) stacks: StackFile,
    pub(crate) mask: BlockedSignals,
    /// Those of the process that it was forked from.
    pub(crate) signals: Signals,
    pub(crate) board: Board,
    pub(crate) master: Pid,
}

impl Birth {
    /// Is the worker; returns its exit code. The master is its parent.
    ///
    /// First its own signals, then the mask, then the runtime's hook, in which the app may start
    /// threads: they inherit the mask.
    pub(crate) fn live(self, host: &mut dyn Host) -> i32 {
        let Self { nr, generation, channel, stacks, mask, signals, board, master } = self;
        // Signals are blocked since before the fork and reach the pipe that is built here: one
        // that was let through earlier would be written into the other process's.
        let signals = signals.rebuild(&WORKER_SIGNALS).and_then(|mut signals| {
            // A hook, an import or a request may take long: a quick stop doesn't wait for it.
            signals.exit_on(&[Signal::SIGINT, Signal::SIGQUIT], ExitCode::OK)?;
            Ok(signals)
        });
        let signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                error!(worker = nr, generation, reason:% = error; "cannot take signals");
                return ExitCode::RUNTIME;
            }
        };
        // The end of file on the channel says the same, but only to a worker that reads it.
        if let Err(error) = die_with_parent(master, Signal::SIGKILL) {
            error!(worker = nr, generation, reason:% = error; "the master is gone");
            return ExitCode::RUNTIME;
        }
        mask.unblock();
        let slot = board.slot(nr);
        let seat = WorkerSeat { nr, generation, channel, signals, slot, board, stacks, master };
        let work = || {
            host.fork_hooks().after_in_child();
            host.run_worker(seat)
        };
        // A panic must not unwind into frames that are copies of another process's.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or(ExitCode::RUNTIME)
    }
}
