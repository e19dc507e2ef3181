//! Masks, hooks and ways out.

use std::cell::RefCell;

use ironhorn_unix::{
    BlockedSignals, Exit, ForkHooks, Forked, NoHooks, Pid, Signal, die_with_parent, exit_now, fork,
    kill, reap, thread_count,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, getuid, setuid};

use crate::{Case, await_readable, end_of, spawn};

pub(crate) const CASES: &[Case] = &[
    ("fork::the_child_starts_with_all_signals_blocked", child_blocked),
    ("fork::the_parents_mask_is_kept", parent_mask),
    ("fork::hooks_are_paired_and_the_childs_is_left_to_it", hooks_paired),
    ("fork::hooks_are_paired_when_the_fork_fails", hooks_paired_on_failure),
    ("fork::exit_now_runs_no_destructors", exit_now_is_bare),
    ("fork::die_with_parent", dies_with_parent),
    ("fork::die_with_parent_that_has_gone", parent_gone),
    ("fork::threads_are_counted", threads_counted),
];

pub(crate) fn blocked(signal: Signal) -> bool {
    SigSet::thread_get_mask().unwrap().contains(signal)
}

fn child_blocked() {
    let child = spawn(|mask| {
        assert!([Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR2].into_iter().all(blocked));
        mask.unblock();
        assert!(!blocked(Signal::SIGTERM));
        0
    });
    assert!(!blocked(Signal::SIGTERM));
    assert_eq!(end_of(child), Exit::Code(0));
}

fn parent_mask() {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGUSR1);
    mask.thread_set_mask().unwrap();
    let child = spawn(|mask| {
        drop(mask);
        assert!(blocked(Signal::SIGUSR1));
        assert!(!blocked(Signal::SIGTERM));
        0
    });
    assert!(blocked(Signal::SIGUSR1));
    assert!(!blocked(Signal::SIGTERM));
    assert_eq!(end_of(child), Exit::Code(0));

    let inner = BlockedSignals::block().unwrap();
    assert!(blocked(Signal::SIGTERM));
    drop(inner);
    assert!(blocked(Signal::SIGUSR1));
    assert!(!blocked(Signal::SIGTERM));
}

#[derive(Default)]
pub(crate) struct Recorded(pub(crate) RefCell<Vec<&'static str>>);

impl Recorded {
    fn record(&self, event: &'static str) {
        assert!(blocked(Signal::SIGTERM), "{event}");
        self.0.borrow_mut().push(event);
    }
}

impl ForkHooks for Recorded {
    fn before(&self) {
        self.record("before");
    }
    fn after_in_parent(&self) {
        self.record("parent");
    }
    fn after_in_child(&self) {
        self.record("child");
    }
}

fn hooks_paired() {
    let hooks = Recorded::default();
    match fork(&hooks).unwrap() {
        Forked::Parent { child } => {
            assert_eq!(*hooks.0.borrow(), ["before", "parent"]);
            assert_eq!(end_of(child), Exit::Code(0));
        }
        Forked::Child { .. } => exit_now(i32::from(*hooks.0.borrow() != ["before"])),
    }
}

fn hooks_paired_on_failure() {
    // getrlimit(2): RLIMIT_NPROC binds everybody but root.
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).unwrap();
    if getuid().is_root() {
        setuid(Uid::from_raw(65534)).unwrap();
    }
    let hooks = Recorded::default();
    let error = fork(&hooks).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(*hooks.0.borrow(), ["before", "parent"]);
    assert!(!blocked(Signal::SIGTERM));
}

fn exit_now_is_bare() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            exit_now(9);
        }
    }
    let child = spawn(|_| {
        let _loud = Loud;
        exit_now(7)
    });
    assert_eq!(end_of(child), Exit::Code(7));
}

fn dies_with_parent() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let (read, write) = nix::unistd::pipe().unwrap();
    let parent = spawn(|mask| {
        mask.unblock();
        let me = Pid::this();
        // Not by `spawn`, which has asked for SIGKILL already.
        match fork(&NoHooks).unwrap() {
            Forked::Parent { .. } => loop {
                nix::unistd::pause();
            },
            Forked::Child { mask } => {
                mask.unblock();
                die_with_parent(me, Signal::SIGTERM).unwrap();
                nix::unistd::write(&write, &Pid::this().as_raw().to_ne_bytes()).unwrap();
                loop {
                    nix::unistd::pause();
                }
            }
        }
    });
    let mut pid = [0; 4];
    await_readable(&read);
    nix::unistd::read(&read, &mut pid).unwrap();
    let grandchild = Pid::from_raw(i32::from_ne_bytes(pid));
    kill(parent, Signal::SIGKILL).unwrap();
    assert_eq!(end_of(parent), Exit::Signal { signal: libc::SIGKILL, core_dumped: false });
    assert_eq!(end_of(grandchild), Exit::Signal { signal: libc::SIGTERM, core_dumped: false });
}

fn parent_gone() {
    let error = die_with_parent(Pid::this(), Signal::SIGTERM).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(reap(Pid::this()).is_err());
}

fn threads_counted() {
    assert_eq!(thread_count().unwrap(), 1);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    assert_eq!(thread_count().unwrap(), 2);
    drop(done);
    thread.join().unwrap().unwrap_err();
}
