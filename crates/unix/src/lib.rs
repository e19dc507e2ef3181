//! What two processes share: fork, signals, sockets, channel, board.
//!
//! The only crate that calls the operating system without a safety net; the crates above it forbid
//! `unsafe`. Nothing here decides anything: policy is in the master and the worker.
//!
//! # Every unsafe call, and who relies on it
//!
//! | Where | Call | Relied on by |
//! |---|---|---|
//! | `fork` | `fork(2)` | master: a worker for each slot ([`fork()`]); zygote: [`fork_orphan`] |
//! | `fork` | `_exit(2)` | master: the one way out of a child ([`exit_now`]) |
//! | `signals`, `signals::unheeded` | `signal_hook::low_level::register` | master, worker: [`Signals`], [`Unheeded`] |
//! | `signals::disposition` | `sigaction(2)`, a zeroed `sigaction` | [`Signals`], [`ignore`], [`reset`] |
//! | `child` | `wait4(2)`, a zeroed `rusage` | master: [`reap`], [`fork_orphan`] |
//! | `child` | `waitid(2)`, a zeroed `siginfo_t` and its pid | master as PID 1: [`reap_orphans`] |
//! | `board` | `mmap(2)`, `munmap(2)`, references into the mapping, `Send` and `Sync` | master, worker: [`Board`] |
//! | `channel` | owning descriptors that were received | zygote: [`Channel::receive_with_fds`] |
//! | `examine` | `sigaction(2)`, a handler | worker: [`answer_examinations`] |
//! | `epoll` | `epoll_ctl(2)` | worker: [`add_exclusive`], [`remove`] |
//! | `socket::stream` | `recv(2)` into room that isn't initialised | worker: [`Stream::recv_behind`] |
//! | `socket::stream` | `dup3(2)` over its own descriptor | worker: [`Stream::let_go`] |
//! | `socket::passage` | owning a descriptor that was received | worker: [`Listener::take_passed`] |
//! | `socket::listener` | `accept4(2)` with the peer's address, owning its descriptor | worker: [`Listener::accept`] |
//! | `socket::inherited` | borrowing descriptor N of `fd://N` | python: [`Listener::bind`], [`Listener::check`] |
//! | `socket::inherited` | owning the descriptor of an adopted listener | python: [`Listener::adopt`] |
//! | `upgrade` | `pre_exec` of a new program, borrowing descriptors to be inherited | python: [`Program::spawn`], [`set_close_on_exec`] |
//! | `malloc` | `mallopt(3)` | python: [`limit_arenas`] |
//! | `title` | writing over the kernel's argv area | python: [`set_process_title`] |

mod board;
mod channel;
mod child;
mod clock;
mod daemon;
mod directory;
mod epoll;
mod examine;
mod fork;
mod limits;
mod malloc;
mod memory;
mod notify;
mod pidfile;
mod privileges;
mod signals;
mod sink;
mod socket;
mod stack_file;
mod stdio;
mod thread;
mod title;
mod trust;
mod upgrade;
mod watch;
mod working_directory;

pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;

pub use board::{Board, BoardLane, BoardSlot, LANES, ONE_REPORT, Running, Snapshot, State};
pub use channel::{
    Channel, Frame, FromZygote, MasterEnd, Received, ToMaster, ToWorker, ToZygote, WorkerEnd,
    ZygoteEnd, ZygoteMasterEnd, channel, zygote_channel,
};
pub use child::{Ended, Exit, kill, reap, reap_orphans};
pub use clock::Monotonic;
pub use daemon::{Detached, Promise, Verdict, detach, leave_terminal};
pub use directory::{Directory, Entry, RegularFile, Symlinks, is_directory};
pub use epoll::{ReadableSet, add_exclusive, remove};
pub use examine::{
    Answer, EXAMINE, Expiries, answer_examinations, claim_response, close_request, examine,
    open_request, watch_expiries,
};
pub use fork::{
    BlockedSignals, ForkHooks, Forked, NoHooks, become_subreaper, die_with_parent, exit_now, fork,
    fork_orphan, thread_count, wait_for_parent,
};
pub use limits::{open_files, raise_open_files};
pub use malloc::{limit_arenas, reuse_blocks};
pub use memory::{Memory, OomKills};
pub use notify::Notifier;
pub use pidfile::{Pidfile, PidfileError};
pub use privileges::{Identity, IdentityError, set_umask};
pub use signals::{Signals, Unheeded, ignore, reset};
pub use sink::{Fate, Links, Sink};
pub use socket::{
    Address, AddressError, BindError, BindOptions, InheritedFault, Listener, ListenerFile, Local,
    Network, NetworkError, Passed, Peer, PeerList, PeerPattern, SocketFile, Stream, bind_private,
    connect_private, effective_uid, is_disconnected, is_served, peer_uid, readable,
};
pub use stack_file::StackFile;
pub use stdio::{is_in_foreground, redirect_output};
pub use thread::{current_thread, name_thread};
pub use title::set_process_title;
pub use upgrade::{Program, parent, set_close_on_exec};
pub use watch::{Change, Watch};
pub use working_directory::WorkingDirectory;

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
