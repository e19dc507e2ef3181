//! Stuck and dead workers: what their clients are told, and what is on record.

use std::{io::Read, time::Duration};

use ironhorn_master::Options;
use ironhorn_unix::Signal;

use crate::{
    Test,
    server::{Server, options},
    worker::Conduct,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_stuck_request_is_told_504", a_stuck_request_is_told_504),
    ("each_stuck_thread_is_on_record", each_stuck_thread_is_on_record),
    ("who_has_no_more_time_is_told_504", who_has_no_more_time_is_told_504),
    ("one_who_cannot_answer_is_not_waited_for", one_who_cannot_answer_is_not_waited_for),
    ("a_stopped_worker_is_killed", a_stopped_worker_is_killed),
    ("a_hung_boot_leaves_its_stacks", a_hung_boot_leaves_its_stacks),
    ("a_crash_is_on_record", a_crash_is_on_record),
    ("a_killed_worker_loses_its_request", a_killed_worker_loses_its_request),
    ("too_much_memory_is_ended", too_much_memory_is_ended),
];

fn a_stuck_request_is_told_504() {
    let short = Options {
        timeout: Some(Duration::from_millis(200)),
        graceful_timeout: Duration::from_millis(300),
        ..options(2)
    };
    let mut server = Server::start(short, &[Conduct::GetStuck { nr: 1 }]);
    server.expect_ready(2);
    server.expect(&[
        "ERROR",
        "request timeout",
        "worker=1",
        "method=GET",
        "path=/slow?a=b",
        "status=504",
        "stacks=\"stacks of worker 1\"",
    ]);
    let mut told = String::new();
    server.gate.read_to_string(&mut told).expect("a response, and its end");
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    server.expect_ever(&["ready", "worker=3"]);
    server.expect(&["lost", "request=\"GET /slow?a=b\"", "status=Some(504)"]);
    server.expect(&[
        "ERROR",
        "worker died",
        "worker=1",
        "reason=timeout",
        "signal=SIGKILL",
        "served=3",
        "requests=\"GET /slow?a=b",
        "peak_memory=",
    ]);
    server.expect(&["observed", "worker=1"]);
    server.stop();
    server.assert_said(&["request lost"], 0);
    server.assert_said(&["request timeout"], 1);
}

fn each_stuck_thread_is_on_record() {
    let short = Options {
        timeout: Some(Duration::from_millis(200)),
        graceful_timeout: Duration::from_millis(300),
        ..options(2)
    };
    let mut server = Server::start(short, &[Conduct::GetStuckInThreads { nr: 1 }]);
    server.expect_ready(2);
    server.expect(&[
        "request timeout",
        "worker=1",
        "thread=2",
        "path=/slow",
        "status=504",
        "stacks=\"stacks of worker 1\"",
    ]);
    server.expect(&["request timeout", "worker=1", "thread=3", "method=PUT", "path=/encrypted"]);
    let mut told = String::new();
    server.gate.read_to_string(&mut told).expect("a response, and its end");
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    server.expect(&["lost", "request=\"GET /slow\"", "status=Some(504)"]);
    server.expect(&["request lost", "thread=3", "request=\"PUT /encrypted\""]);
    server.expect(&["lost", "request=\"PUT /encrypted\"", "status=None"]);
    server.expect(&["worker died", "reason=timeout", "served=1", "requests=\"GET /slow"]);
    server.expect(&["observed", "worker=1"]);
    server.stop();
    server.assert_said(&["request timeout"], 2);
    server.assert_said(&["PUT /encrypted", "in thread 3\""], 1);
    server.assert_said(&["request timeout", "thread=3", "status="], 0);
    server.assert_said(&["request timeout", "stacks="], 1);
    server.assert_said(&["ready", "worker=3"], 1);
    server.assert_said(&["ready"], 3);
}

/// The request is in time, but its worker is not.
fn who_has_no_more_time_is_told_504() {
    let short = Options {
        timeout: Some(Duration::from_secs(60)),
        graceful_timeout: Duration::from_millis(200),
        ..options(1)
    };
    let mut server = Server::start(short, &[Conduct::GetStuck { nr: 1 }, Conduct::Serve]);
    server.expect_ready(1);
    server.signal(Signal::SIGHUP);
    let mut told = String::new();
    server.gate.read_to_string(&mut told).expect("a response, and its end");
    assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
    server.expect_ever(&["graceful timeout", "worker=1"]);
    server.expect_ever(&["lost", "request=\"GET /slow?a=b\"", "status=Some(504)"]);
    server.expect_ever(&["worker died", "reason=\"graceful timeout\"", "requests=\"GET /slow?a=b"]);
    server.stop();
    server.assert_said(&["request lost"], 0);
}

fn one_who_cannot_answer_is_not_waited_for() {
    let short = Options {
        timeout: Some(Duration::from_millis(100)),
        graceful_timeout: Duration::ZERO,
        ..options(1)
    };
    let mut server = Server::start(short, &[Conduct::Unexaminable, Conduct::Serve]);
    server.expect_ready(1);
    server.signal(Signal::SIGHUP);
    let asked_at = server.expect(&["graceful timeout", "worker=1"]);
    let died_at = server.expect(&["worker died", "reason=\"graceful timeout\"", "stacks="]);
    let waited = died_at.since(asked_at);
    assert!(waited >= Duration::from_millis(490), "killed after {waited:?}");
    server.stop();
}

fn a_stopped_worker_is_killed() {
    let short = Options { graceful_timeout: Duration::from_millis(100), ..options(2) };
    let mut server = Server::start(short, &[Conduct::Serve]);
    server.expect_ready(2);
    let pid = server.pid_of(1);
    server.kill(pid, Signal::SIGSTOP);
    server.signal(Signal::SIGTERM);
    server.expect(&["worker died", "worker=1", "reason=\"graceful timeout\""]);
    assert_eq!(server.end(), 0);
}

fn a_hung_boot_leaves_its_stacks() {
    let quick = Options { boot_timeout: Some(Duration::from_millis(100)), ..options(1) };
    let mut server = Server::start(quick, &[Conduct::HangInBoot]);
    server.expect_ever(&["start failed", "reason=\"boot timeout\""]);
    server.expect_ever(&["worker died", "reason=\"boot timeout\"", "stacks of worker 1"]);
    assert_eq!(server.end(), 3);
}

fn a_crash_is_on_record() {
    let mut server = Server::start(options(1), &[Conduct::Crash]);
    server.expect(&[
        "ERROR",
        "worker died",
        "reason=\"signal SIGABRT",
        "signal=SIGABRT",
        "served=0",
        "stacks=\"stacks of worker 1\"",
    ]);
    server.stop();
}

fn a_killed_worker_loses_its_request() {
    let mut server = Server::start(options(2), &[Conduct::Work { nr: 1 }]);
    server.expect_ready(2);
    server.expect_ever(&["working", "worker=1"]);
    server.kill(server.pid_of(1), Signal::SIGKILL);
    server.expect(&["left", "lines=\"done before\""]);
    server.expect(&["WARN", "request lost", "request=\"GET /work\""]);
    server.expect(&["lost", "status=None"]);
    server.expect(&["worker died", "reason=\"signal SIGKILL\"", "requests=\"GET /work 0."]);
    server.expect(&["working", "worker=1"]);
    server.open_gate();
    server.stop();
}

fn too_much_memory_is_ended() {
    let limited = Options { max_memory_hard: Some(1), ..options(1) };
    let mut server = Server::start(limited, &[Conduct::Serve]);
    server.expect_ready(1);
    server.expect(&["ERROR", "too much memory", "worker=1", "memory="]);
    server.expect(&["worker died", "reason=max_memory_hard", "memory=", "stacks of worker 1"]);
    server.stop();
}
