//! Workers that are forked from a zygote.

use std::time::{Duration, Instant};

use ironhorn_master::Options;
use ironhorn_unix::{Pid, Signal};
use serde_json::json;

use crate::{
    Test,
    server::{Server, options},
    worker::Conduct,
};

pub(crate) const TESTS: &[Test] = &[
    ("workers_are_forked_from_the_zygote", workers_are_forked_from_the_zygote),
    ("a_worker_of_a_zygote_is_the_masters_child", a_worker_of_a_zygote_is_the_masters_child),
    ("a_worker_that_dies_at_once_is_reaped", a_worker_that_dies_at_once_is_reaped),
    ("a_killed_zygote_is_forked_anew", a_killed_zygote_is_forked_anew),
    ("a_zygote_that_fails_ends_the_start", a_zygote_that_fails_ends_the_start),
    ("a_zygote_that_hangs_ends_the_start", a_zygote_that_hangs_ends_the_start),
    ("a_zygote_heeds_no_signal", a_zygote_heeds_no_signal),
    ("a_reload_has_a_zygote_of_its_own", a_reload_has_a_zygote_of_its_own),
    ("a_zygote_that_fails_ends_the_reload", a_zygote_that_fails_ends_the_reload),
    ("stacks_of_a_zygotes_worker_are_its_own", stacks_of_a_zygotes_worker_are_its_own),
    ("a_quick_stop_ends_a_zygote_that_imports", a_quick_stop_ends_a_zygote_that_imports),
    ("zygotes_do_not_outlive_a_killed_master", zygotes_do_not_outlive_a_killed_master),
    ("zygotes_and_their_workers_inherit_nothing", zygotes_and_their_workers_inherit_nothing),
];

fn preload(workers: usize) -> Options {
    Options { preload: true, ..options(workers) }
}

fn workers_are_forked_from_the_zygote() {
    let mut server = Server::start(preload(3), &[Conduct::Serve]);
    server.expect(&["zygote ready", "generation=1"]);
    for _ in 0..3 {
        server.expect(&[" ready", "worker="]);
    }
    server.stop();
    server.assert_said(&["booting", "preloaded=true"], 3);
    server.assert_said(&["importing"], 1);
    server.assert_said(&["exited", "reason=asked"], 4);
    server.assert_no_trouble();
}

fn a_worker_of_a_zygote_is_the_masters_child() {
    let mut server = Server::start(preload(2), &[Conduct::Serve]);
    server.expect_ready(2);
    server.assert_said(&["booting", &format!("ppid={} ", server.master())], 2);
    for _ in 0..3 {
        let pid = server.pid_of(1);
        server.kill(pid, Signal::SIGKILL);
        server.expect(&["worker died", "worker=1", "reason=\"signal SIGKILL\""]);
        server.expect(&["ready", "worker=1"]);
        assert_ne!(server.pid_of(1), pid);
    }
    assert_eq!(zombies(server.master()), Vec::<String>::new());
    // Its signals are its own.
    server.kill(server.pid_of(2), Signal::SIGTERM);
    server.expect(&["draining", "worker=2"]);
    server.expect(&[" ready", "worker="]);
    server.stop();
    server.assert_said(&["importing"], 1);
}

fn a_worker_that_dies_at_once_is_reaped() {
    let mut server = Server::start(preload(2), &[Conduct::DieOnceReady]);
    for _ in 0..6 {
        server.expect(&["worker died", "reason=\"exit code 7\""]);
    }
    // The next one may have died in this moment; those that are told of are reaped.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !zombies(server.master()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", zombies(server.master()));
    }
    server.stop();
    server.assert_said(&["cannot reap"], 0);
    server.assert_said(&["importing"], 1);
}

fn a_killed_zygote_is_forked_anew() {
    let mut server = Server::start(preload(2), &[Conduct::Serve]);
    server.expect_ready(2);
    for _ in 0..2 {
        let zygote = server.last_pid(&["zygote ready"]);
        server.kill(zygote, Signal::SIGKILL);
        server.expect(&["ERROR", "zygote died", "signal=SIGKILL", "stacks of the zygote"]);
        server.expect(&["zygote ready"]);
        assert_ne!(server.last_pid(&["zygote ready"]), zygote);
    }
    server.assert_said(&["booting"], 2);
    server.kill(server.pid_of(2), Signal::SIGKILL);
    server.expect(&["ready", "worker=2"]);
    server.stop();
    server.assert_said(&["importing"], 3);
}

fn a_zygote_that_fails_ends_the_start() {
    for (conduct, code) in
        [(Conduct::FailToBoot(3), 3), (Conduct::FailToBoot(4), 4), (Conduct::Panic, 3)]
    {
        let mut server = Server::start(preload(2), &[conduct]);
        server.expect(&["ERROR", "zygote died"]);
        assert_eq!(server.end(), code);
        server.assert_said(&["booting"], 0);
    }
}

fn a_zygote_that_hangs_ends_the_start() {
    let quick = Options { boot_timeout: Some(Duration::from_millis(100)), ..preload(2) };
    let mut server = Server::start(quick, &[Conduct::HangInBoot]);
    server.expect(&["zygote died", "reason=\"boot timeout\"", "stacks of the zygote"]);
    assert_eq!(server.end(), 3);
}

fn a_zygote_heeds_no_signal() {
    let mut server = Server::start(preload(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let zygote = server.last_pid(&["zygote ready"]);
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        server.kill(zygote, signal);
    }
    server.kill(server.pid_of(1), Signal::SIGKILL);
    server.expect(&["ready", "worker=1"]);
    server.stop();
    server.assert_said(&["importing"], 1);
    server.assert_said(&["unexpected signal"], 0);
}

fn a_reload_has_a_zygote_of_its_own() {
    let mut server = Server::start(preload(2), &[Conduct::Serve]);
    server.expect_ready(2);
    let first = server.last_pid(&["zygote ready"]);
    server.signal(Signal::SIGHUP);
    server.expect(&["zygote ready", "generation=2"]);
    server.expect(&["reloaded", "generation=2"]);
    server.expect_ever(&["zygote exited", "generation=1", &format!("pid={first} ")]);
    server.expect_ever(&["generation 1 dropped"]);
    server.stop();
    server.assert_no_trouble();
}

fn a_zygote_that_fails_ends_the_reload() {
    let mut server = Server::start(preload(2), &[Conduct::Serve, Conduct::FailToBoot(3)]);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["zygote died", "generation=2", "reason=\"boot failure\""]);
    server.expect(&["reload failed", "generation=2", "serving=1"]);
    // What is on the disk is broken; what dies is replaced all the same.
    server.kill(server.pid_of(1), Signal::SIGKILL);
    server.expect(&["ready", "worker=1", "generation=1"]);
    server.stop();
    server.assert_said(&["importing"], 2);
}

fn stacks_of_a_zygotes_worker_are_its_own() {
    let mut server = Server::start(preload(2), &[Conduct::Serve]);
    server.expect_ready(2);
    for nr in [1, 2] {
        let stack = json!({ "command": "stack", "pid": server.pid_of(nr).as_raw() });
        assert_eq!(server.ask(&stack)["stack"], json!(format!("stacks of worker {nr}")));
    }
    server.kill(server.pid_of(1), Signal::SIGKILL);
    server.expect(&["worker died", "worker=1"]);
    server.expect(&[" ready", "worker=1"]);
    server.stop();
}

fn a_quick_stop_ends_a_zygote_that_imports() {
    let mut server = Server::start(preload(2), &[Conduct::HangInBoot]);
    server.expect(&["importing"]);
    let asked_at = server.expect_at_once(Signal::SIGINT, &["stopping", "mode=quick"]);
    let stopped_at = server.expect(&["stopped"]);
    assert!(stopped_at.since(asked_at) < Duration::from_secs(1));
    assert_eq!(server.end(), 0);
}

fn zygotes_do_not_outlive_a_killed_master() {
    let mut server = Server::start(preload(2), &[Conduct::Deaf]);
    server.expect_ready(2);
    server.signal(Signal::SIGKILL);
    server.expect_silence();
}

fn zygotes_and_their_workers_inherit_nothing() {
    let mut server = Server::start(preload(4), &[Conduct::Serve]);
    server.expect_ready(4);
    server.kill(server.pid_of(4), Signal::SIGKILL);
    server.expect(&["ready", "worker=4"]);
    server.stop();
    let counts = |word: &str| -> Vec<String> {
        let lines = server.lines().filter(|line| line.contains(word));
        lines.filter_map(|line| Some(line.split_once("descriptors=")?.1.to_owned())).collect()
    };
    let workers = counts("booting");
    assert_eq!(workers.len(), 5);
    assert!(workers.windows(2).all(|pair| pair[0] == pair[1]), "{workers:?}");
    // The zygote has a channel and a file of stacks, too.
    assert_eq!(counts("importing")[0], workers[0]);
}

/// Children of a process that have ended and were not reaped.
fn zombies(parent: Pid) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("procfs");
    processes
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| {
            let (_, fields) = stat.rsplit_once(") ").expect("proc(5)");
            fields.starts_with(&format!("Z {parent} "))
        })
        .collect()
}
