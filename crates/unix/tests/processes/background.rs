//! Processes that leave where they come from: into the background, and to another user.

use std::fs;

use ironhorn_unix::{
    Detached, Exit, Identity, NoHooks, Pid, Signal, Signals, detach, die_with_parent, exit_now,
    leave_terminal,
};
use nix::unistd::{getpgrp, getpid, getsid};

use crate::{Case, end_of, spawn};

pub(crate) const CASES: &[Case] = &[
    ("background::the_launcher_is_told_how_it_went", told),
    ("background::the_launcher_notices_a_server_that_is_gone", gone),
    ("background::signals_are_passed_on", passed_on),
    ("background::a_user_is_assumed_for_good", assumed),
];

/// Runs a server in the background; what the launcher hears.
fn launch(server: impl FnOnce(ironhorn_unix::Promise)) -> Option<i32> {
    match detach(&NoHooks).unwrap() {
        Detached::Launcher(verdict) => {
            let mut signals = Signals::install(&[Signal::SIGTERM]).unwrap();
            verdict.wait(&mut signals).unwrap()
        }
        Detached::Server(promise) => {
            server(promise);
            exit_now(0);
        }
    }
}

fn told() {
    let (session, launcher) = (getsid(None).unwrap(), getpid());
    let code = launch(|promise| {
        let own = getsid(None).unwrap();
        // Neither the old session nor one that it leads: it can't get a terminal.
        assert!(own != session && own != getpid() && getpgrp() != getpid());
        assert_ne!(getpid(), launcher);
        leave_terminal().unwrap();
        for number in 0..3 {
            let stream = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            assert_eq!(stream.to_str(), Some("/dev/null"));
        }
        promise.keep(7);
    });
    assert_eq!(code, Some(7));
}

fn gone() {
    assert_eq!(launch(drop), None);
}

fn passed_on() {
    let launcher = getpid();
    let code = launch(|promise| {
        let mut signals = Signals::install(&[Signal::SIGTERM]).unwrap();
        while !catches(launcher, Signal::SIGTERM) {
            std::thread::yield_now();
        }
        ironhorn_unix::kill(launcher, Signal::SIGTERM).unwrap();
        crate::await_readable(&signals);
        assert_eq!(signals.drain(), [Signal::SIGTERM]);
        promise.keep(3);
    });
    assert_eq!(code, Some(3));
}

fn catches(process: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal as i32 - 1) & 1 == 1
}

fn assumed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let parent = Pid::this();
    let child = spawn(|mask| {
        let identity = Identity::look_up(Some("65534"), Some("65533"), false).unwrap().unwrap();
        identity.assume().unwrap();
        die_with_parent(parent, Signal::SIGKILL).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = |name| status.lines().find(|line| line.starts_with(name)).unwrap().trim_end();
        assert_eq!(line("Uid:"), "Uid:\t65534\t65534\t65534\t65534");
        assert_eq!(line("Gid:"), "Gid:\t65533\t65533\t65533\t65533");
        assert_eq!(line("Groups:"), "Groups:\t65533");
        assert!(nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_err());
        assert!(nix::sys::prctl::get_pdeathsig().unwrap().is_some());
        mask.unblock();
        0
    });
    assert_eq!(end_of(child), Exit::Code(0));
}
