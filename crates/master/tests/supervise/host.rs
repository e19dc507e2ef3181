//! What the server around the master wants of it, and the new master that replaces it.

use ironhorn_unix::Signal;

use crate::{
    Test,
    server::{Server, options},
    worker::Conduct,
};

pub(crate) const TESTS: &[Test] = &[
    ("the_host_is_called_for_what_it_waits_for", the_host_is_called_for_what_it_waits_for),
    ("the_host_knows_of_forks", the_host_knows_of_forks),
    ("a_new_master_that_goes_is_noticed", a_new_master_that_goes_is_noticed),
    ("a_signal_that_a_hook_takes_is_taken_back", a_signal_that_a_hook_takes_is_taken_back),
    ("there_may_be_no_new_master", there_may_be_no_new_master),
];

fn the_host_is_called_for_what_it_waits_for() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect(&["attended", "rung=-", "reload=false"]);
    server.expect_ready(1);
    server.ring(b'x');
    server.expect(&["attended", "rung=x", "reload=false"]);
    server.ring(b'a');
    server.expect(&["attended", "rung=a", "reload=false"]);
    server.expect(&["attended", "rung=-", "reload=false"]);
    server.ring(b'r');
    server.expect(&["attended", "rung=r", "reload=true"]);
    server.expect(&["reloaded", "generation=2"]);
    server.stop();
    server.assert_said(&["attended", "reload=true"], 1);
}

fn the_host_knows_of_forks() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect(&["about to fork", "worker=1", "generation=1"]);
    server.expect_ever(&["about to fork", "worker=2", "generation=1"]);
    server.expect_ready(2);
    server.stop();
    server.assert_said(&["about to fork"], 2);
}

fn a_new_master_that_goes_is_noticed() {
    let mut server = Server::start_with(options(1), &[Conduct::Serve], true, None);
    server.expect_ready(1);
    server.signal(Signal::SIGUSR2);
    server.expect(&["upgrading"]);
    server.signal(Signal::SIGUSR2);
    server.expect(&["upgrade failed", "already upgrading to pid"]);
    server.open_gate();
    server.expect(&["taken back"]);
    server.expect(&["upgrade failed", "exit code 5"]);
    server.signal(Signal::SIGUSR2);
    server.expect(&["upgrading"]);
    server.open_gate();
    server.expect(&["taken back"]);
    server.stop();
    server.assert_said(&["booting"], 1);
}

fn a_signal_that_a_hook_takes_is_taken_back() {
    for taken in [Signal::SIGCHLD, Signal::SIGTERM] {
        let mut server = Server::start_with(options(2), &[Conduct::Serve], false, Some(taken));
        server.expect_ready(2);
        server.kill(server.pid_of(1), Signal::SIGKILL);
        server.expect(&["WARN", "can't have this signal", &format!("signal={taken}")]);
        server.expect(&["ready", "worker=1"]);
        server.kill(server.pid_of(2), Signal::SIGKILL);
        server.expect(&["ready", "worker=2"]);
        server.stop();
    }
}

fn there_may_be_no_new_master() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    for _ in 0..2 {
        server.signal(Signal::SIGUSR2);
        server.expect(&["ERROR", "upgrade failed", "not here"]);
    }
    server.stop();
}
