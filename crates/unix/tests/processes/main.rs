//! What needs real processes: fork, signals, end of file, death.
//!
//! Forking a process with threads is unsafe, and libtest has them: so this is a program of its own.
//! Each case runs in a fork of it that has met no signal and installed no handler, and may fork in
//! turn. A case fails that panics, takes longer than a minute, or leaves a process behind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of it is tests")]

use std::os::fd::{AsFd, BorrowedFd, FromRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use ironhorn_unix::{
    BlockedSignals, Ended, Exit, Forked, NoHooks, Pid, Signal, die_with_parent, exit_now, fork,
    kill, reap,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

mod background;
mod board;
mod channel;
mod children;
mod examine;
mod files;
mod forking;
mod orphans;
mod program;
mod signals;
mod sockets;

/// How long anything that must happen may take.
const DEADLINE: Duration = Duration::from_secs(20);

type Case = (&'static str, fn());

fn main() -> ExitCode {
    if let Some(code) = program::role() {
        return code;
    }
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    let groups: [&[Case]; 11] = [
        background::CASES,
        forking::CASES,
        orphans::CASES,
        signals::CASES,
        channel::CASES,
        board::CASES,
        children::CASES,
        examine::CASES,
        files::CASES,
        sockets::CASES,
        program::CASES,
    ];
    for &(name, case) in groups.into_iter().flatten() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        match run(case) {
            Exit::Code(0) => println!("test {name} ... ok"),
            exit => {
                println!("test {name} ... FAILED ({exit})");
                failed += 1;
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: fn()) -> Exit {
    let child = spawn(|mask| {
        mask.unblock();
        nix::unistd::alarm::set(60);
        case();
        0
    });
    let exit = end_of(child);
    if end_orphans() == 0 { exit } else { Exit::Code(102) }
}

/// Kills what a case has left behind, and counts what was still running.
fn end_orphans() -> usize {
    let mut running = 0;
    loop {
        // What its parent's death has killed is on its way out: it is only waited for.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let Some(orphan) = children.split_whitespace().next() else { return running };
        let orphan = Pid::from_raw(orphan.parse().unwrap());
        if !ends_within(orphan, DEADLINE / 10) {
            running += 1;
            kill(orphan, Signal::SIGKILL).unwrap();
        }
        end_of(orphan);
    }
}

fn ends_within(child: Pid, limit: Duration) -> bool {
    // SAFETY: pidfd_open(2) takes two integers and no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    let fd = i32::try_from(fd).unwrap();
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    let fd = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    readable_within(fd.as_fd(), limit)
}

/// Forks; the child runs `body`, signals blocked, and leaves with its result (101: it panicked).
fn spawn(body: impl FnOnce(BlockedSignals) -> i32) -> Pid {
    spawn_with((), |mask, ()| body(mask)).0
}

/// Like [`spawn`], with something that both processes own afterwards.
fn spawn_with<T>(inherited: T, body: impl FnOnce(BlockedSignals, T) -> i32) -> (Pid, T) {
    let parent = Pid::this();
    match fork(&NoHooks).unwrap() {
        Forked::Parent { child } => (child, inherited),
        Forked::Child { mask } => {
            let code = catch_unwind(AssertUnwindSafe(|| {
                die_with_parent(parent, Signal::SIGKILL).unwrap();
                body(mask, inherited)
            }));
            exit_now(code.unwrap_or(101))
        }
    }
}

/// Waits until a child has ended, without reaping it.
fn await_end(child: Pid) {
    // EINVAL is nix's way to say that a real-time signal killed it.
    let _ = waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
}

/// Waits until a child has ended and reaps it.
fn end_of(child: Pid) -> Exit {
    ended(child).exit
}

/// Like [`end_of`], with what else is known.
fn ended(child: Pid) -> Ended {
    await_end(child);
    reap(child).unwrap().unwrap()
}

/// Waits until something can be read, or the other side has closed.
fn await_readable(fd: impl AsFd) {
    assert!(readable_within(fd.as_fd(), DEADLINE), "nothing came");
}

/// For what must not come, too: then `limit` is how long to watch.
fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit).unwrap();
    loop {
        match poll(&mut polled, limit) {
            Ok(ready) => return ready > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}

/// Waits until a process waits. proc(5): a sleeping process is in the system call it last made.
fn await_sleep(child: Pid) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        if stat.rsplit_once(')').unwrap().1.trim_start().starts_with('S') {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "process {child} does not wait: {stat}");
        std::thread::yield_now();
    }
}
