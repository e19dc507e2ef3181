//! What two processes share: fork, signals, sockets, channel, board.
//!
//! The only crate that calls the operating system without a safety net; the crates above it forbid
//! `unsafe`. Nothing here decides anything: policy is in the master and the worker.
//!
//! # Every unsafe call, and who relies on it
//!
//! | Where | Call | Relied on by |
//! |---|---|---|
//! | `fork` | `fork(2)` | master: a worker for each slot ([`fork()`]) |
//! | `fork` | `_exit(2)` | master: the one way out of a child ([`exit_now`]) |
//! | `signals` | `signal_hook::low_level::register` | master, worker: [`Signals`] |
//! | `signals::disposition` | `sigaction(2)`, a zeroed `sigaction` | [`Signals`], [`ignore`], [`reset`] |
//! | `child` | `waitpid(2)` | master: [`reap`] |
//! | `child` | `waitid(2)`, a zeroed `siginfo_t` and its pid | master as PID 1: [`reap_orphans`] |
//! | `board` | `mmap(2)`, `munmap(2)`, references into the mapping, `Send` and `Sync` | master, worker: [`Board`] |
//! | `epoll` | `epoll_ctl(2)` | worker: [`add_exclusive`], [`remove`] |
//! | `socket::listener` | `accept4(2)` with the peer's address, owning its descriptor | worker: [`Listener::accept`] |
//! | `socket::inherited` | borrowing descriptor N of `fd://N` | python: [`Listener::bind`], [`Listener::check`] |
//! | `title` | writing over the kernel's argv area | python: [`set_process_title`] |

mod board;
mod channel;
mod child;
mod clock;
mod epoll;
mod fork;
mod limits;
mod pidfile;
mod privileges;
mod signals;
mod socket;
mod stdio;
mod title;

pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;

pub use board::{Board, BoardSlot, ONE_REPORT, Snapshot, State};
pub use channel::{Channel, Frame, MasterEnd, Received, ToMaster, ToWorker, WorkerEnd, channel};
pub use child::{Exit, kill, reap, reap_orphans};
pub use clock::Monotonic;
pub use epoll::{add_exclusive, remove};
pub use fork::{
    BlockedSignals, ForkHooks, Forked, NoHooks, die_with_parent, exit_now, fork, thread_count,
};
pub use limits::{open_files, raise_open_files};
pub use pidfile::{Pidfile, PidfileError};
pub use privileges::set_umask;
pub use signals::{Signals, ignore, reset};
pub use socket::{
    Address, AddressError, BindError, BindOptions, InheritedFault, Listener, Local, Peer, Stream,
};
pub use stdio::redirect_output;
pub use title::set_process_title;

/// What the system said, as the end of a message of ours: lower case, without the number.
fn cause(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    let mut rest = text.chars();
    match (rest.next(), rest.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(rest).collect()
        }
        _ => text,
    }
}
