//! Children are reaped by name, orphans only when asked.

use std::os::fd::AsFd;

use ironhorn_unix::{Exit, Forked, NoHooks, Pid, Signal, exit_now, fork, kill, reap, reap_orphans};
use nix::sys::prctl::set_child_subreaper;

use crate::{Case, await_end, await_readable, end_of, ended, spawn};

pub(crate) const CASES: &[Case] = &[
    ("children::reap_tells_how_they_ended", how_they_ended),
    ("children::a_real_time_signal_has_no_name", real_time_signal),
    ("children::the_most_memory_is_known_afterwards", peak_memory),
    ("children::orphans_are_reaped_and_known_ones_left", orphans),
];

fn how_they_ended() {
    let running = spawn(|_| {
        loop {
            nix::unistd::pause();
        }
    });
    assert_eq!(reap(running).unwrap(), None);
    let left = spawn(|_| 3);
    assert_eq!(end_of(left), Exit::Code(3));
    assert_eq!(reap(left).unwrap_err().raw_os_error(), Some(libc::ECHILD));
    kill(running, Signal::SIGKILL).unwrap();
    assert_eq!(end_of(running), Exit::Signal { signal: libc::SIGKILL, core_dumped: false });
    assert!(kill(running, Signal::SIGTERM).is_err());
}

fn real_time_signal() {
    let child = spawn(|mask| {
        mask.unblock();
        // SAFETY: raise(3) has no obligation. nix knows no real-time signals.
        unsafe { libc::raise(libc::SIGRTMIN() + 6) };
        0
    });
    let exit = end_of(child);
    assert_eq!(exit, Exit::Signal { signal: libc::SIGRTMIN() + 6, core_dumped: false });
}

fn peak_memory() {
    const SIZE: usize = 64 << 20;
    let modest = spawn(|_| 0);
    let modest = ended(modest).peak_memory;
    assert!(modest > 0);
    let greedy = spawn(|_| {
        let pages = vec![1_u8; SIZE];
        let last = std::hint::black_box(&pages).last().copied();
        drop(pages);
        // Killed, it is no less known.
        assert_eq!(last, Some(1));
        kill(Pid::this(), Signal::SIGKILL).unwrap();
        0
    });
    let ended = ended(greedy);
    assert_eq!(ended.exit, Exit::Signal { signal: libc::SIGKILL, core_dumped: false });
    let more = usize::try_from(ended.peak_memory - modest).unwrap();
    assert!((SIZE - SIZE / 8..2 * SIZE).contains(&more), "{more}");
}

fn orphans() {
    set_child_subreaper(true).unwrap();
    let nobody = |_: Pid| false;
    assert_eq!(reap_orphans(&nobody), 0);

    let (read, write) = nix::unistd::pipe().unwrap();
    let parent = spawn(|_| match fork(&NoHooks).unwrap() {
        Forked::Parent { .. } => 0,
        Forked::Child { .. } => {
            nix::unistd::write(&write, &Pid::this().as_raw().to_ne_bytes()).unwrap();
            exit_now(0)
        }
    });
    await_readable(read.as_fd());
    let mut pid = [0; 4];
    nix::unistd::read(&read, &mut pid).unwrap();
    let orphan = Pid::from_raw(i32::from_ne_bytes(pid));
    assert_eq!(end_of(parent), Exit::Code(0));
    await_end(orphan);
    assert_eq!(reap_orphans(&|pid| pid == orphan), 0);
    assert_eq!(reap_orphans(&nobody), 1);
    assert_eq!(reap_orphans(&nobody), 0);

    let known = spawn(|_| 5);
    await_end(known);
    assert_eq!(reap_orphans(&|pid| pid == known), 0);
    assert_eq!(end_of(known), Exit::Code(5));
}
