//! A worker that a zygote forks is the master's child.

use std::io::ErrorKind;
use std::time::Duration;

use ironhorn_unix::{
    Exit, Forked, NoHooks, Pid, Signal, become_subreaper, die_with_parent, exit_now, fork_orphan,
    wait_for_parent,
};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::wait;
use nix::unistd::{Uid, getuid, setuid};

use crate::forking::{Recorded, blocked};
use crate::{Case, DEADLINE, await_readable, end_of, spawn};

pub(crate) const CASES: &[Case] = &[
    ("orphans::are_the_subreapers_children", are_the_subreapers),
    ("orphans::start_with_all_signals_blocked_and_hooks_run_once", once_around_both),
    ("orphans::of_one_zygote_are_many", many),
    ("orphans::are_none_if_the_first_fork_fails", first_fails),
    ("orphans::are_none_if_the_second_fork_fails", second_fails),
    ("orphans::wait_for_their_parent_with_patience", patience),
];

/// Nothing is left to be waited for.
fn assert_childless() {
    assert_eq!(wait(), Err(Errno::ECHILD));
}

fn are_the_subreapers() {
    become_subreaper().unwrap();
    let (read, write) = nix::unistd::pipe().unwrap();
    let master = Pid::this();
    let zygote = spawn(|_| match fork_orphan(&NoHooks).unwrap() {
        Forked::Parent { child } => {
            nix::unistd::write(&write, &child.as_raw().to_ne_bytes()).unwrap();
            assert_childless();
            0
        }
        Forked::Child { mask } => {
            mask.unblock();
            wait_for_parent(master, DEADLINE).unwrap();
            die_with_parent(master, Signal::SIGKILL).unwrap();
            nix::unistd::write(&write, &Pid::this().as_raw().to_ne_bytes()).unwrap();
            exit_now(5)
        }
    });
    let next = || {
        let mut pid = [0; 4];
        await_readable(&read);
        nix::unistd::read(&read, &mut pid).unwrap();
        Pid::from_raw(i32::from_ne_bytes(pid))
    };
    let (one, other) = (next(), next());
    assert_eq!(one, other, "the zygote's word and the worker's");
    assert_eq!(end_of(one), Exit::Code(5));
    assert_eq!(end_of(zygote), Exit::Code(0));
    assert_childless();
}

fn once_around_both() {
    become_subreaper().unwrap();
    let hooks = Recorded::default();
    let zygote = spawn(|mask| {
        mask.unblock();
        match fork_orphan(&hooks).unwrap() {
            Forked::Parent { .. } => {
                assert_eq!(*hooks.0.borrow(), ["before", "parent"]);
                assert!(!blocked(Signal::SIGTERM));
                0
            }
            Forked::Child { mask } => {
                let right = *hooks.0.borrow() == ["before"] && blocked(Signal::SIGTERM);
                mask.unblock();
                exit_now(i32::from(!right || blocked(Signal::SIGTERM)))
            }
        }
    });
    assert_eq!(end_of(zygote), Exit::Code(0));
    let ended = nix::sys::wait::wait().unwrap();
    assert!(matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), "{ended:?}");
    assert_childless();
}

fn many() {
    become_subreaper().unwrap();
    let master = Pid::this();
    let zygote = spawn(|_| {
        // Whoever waits for nobody may ignore their ends.
        ironhorn_unix::ignore(Signal::SIGCHLD).unwrap();
        for nr in 0..20 {
            if let Forked::Child { .. } = fork_orphan(&NoHooks).unwrap() {
                wait_for_parent(master, DEADLINE).unwrap();
                exit_now(nr);
            }
        }
        assert_childless();
        0
    });
    assert_eq!(end_of(zygote), Exit::Code(0));
    let mut codes = Vec::new();
    while let Ok(nix::sys::wait::WaitStatus::Exited(_, code)) = wait() {
        codes.push(code);
    }
    codes.sort_unstable();
    assert_eq!(codes, (0..20).collect::<Vec<_>>());
}

fn first_fails() {
    refused(0);
}

fn second_fails() {
    // This process, and the one in between.
    refused(2);
}

fn refused(processes: u64) {
    become_subreaper().unwrap();
    // getrlimit(2): RLIMIT_NPROC counts a user's processes, and binds everybody but root.
    setrlimit(Resource::RLIMIT_NPROC, processes, processes).unwrap();
    if getuid().is_root() {
        setuid(Uid::from_raw(1_000_000 + std::process::id())).unwrap();
    }
    let hooks = Recorded::default();
    let error = fork_orphan(&hooks).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(*hooks.0.borrow(), ["before", "parent"]);
    assert!(!blocked(Signal::SIGTERM));
    assert_childless();
}

fn patience() {
    let error = wait_for_parent(Pid::this(), Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let parent = nix::unistd::getppid();
    let text = format!("the parent process is {parent}, not {}", Pid::this());
    assert_eq!(error.to_string(), text);
    wait_for_parent(parent, Duration::ZERO).unwrap();
}
