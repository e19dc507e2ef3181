//! The supervisor with real processes and pretended workers: fork, signals, exits, time limits.
//!
//! Without a harness, because its threads would make each fork a gamble. Each test waits for log
//! lines and for end of file, never for time to pass; a wait that takes too long fails. An
//! argument selects the tests whose name contains it.

mod control;
mod examination;
mod host;
mod preload;
mod server;
mod worker;

use std::{
    env,
    io::Write,
    panic,
    process::ExitCode,
    time::{Duration, Instant},
};

use ironhorn_master::Options;
use ironhorn_unix::Signal;
use server::{Server, options};
use worker::Conduct;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("starts_and_stops", starts_and_stops),
    ("int_is_quick", int_is_quick),
    ("quick_means_killed_if_need_be", quick_means_killed_if_need_be),
    ("a_broken_app_ends_the_start", a_broken_app_ends_the_start),
    ("a_hung_boot_ends_the_start", a_hung_boot_ends_the_start),
    ("a_killed_worker_is_replaced", a_killed_worker_is_replaced),
    ("a_terminated_worker_is_replaced", a_terminated_worker_is_replaced),
    ("a_crash_loop_slows_down", a_crash_loop_slows_down),
    ("a_panic_is_an_exit_code", a_panic_is_an_exit_code),
    ("a_closed_channel_is_ended", a_closed_channel_is_ended),
    ("a_reload_goes_one_by_one", a_reload_goes_one_by_one),
    ("wrong_settings_change_nothing", wrong_settings_change_nothing),
    ("a_reload_that_cannot_boot_is_abandoned", a_reload_that_cannot_boot_is_abandoned),
    ("a_reload_that_hangs_is_abandoned", a_reload_that_hangs_is_abandoned),
    ("a_stop_ends_a_reload", a_stop_ends_a_reload),
    ("a_reload_restarts_a_reload", a_reload_restarts_a_reload),
    ("term_waits_for_the_slow", term_waits_for_the_slow),
    ("term_waits_no_longer_than_agreed", term_waits_no_longer_than_agreed),
    ("a_second_term_is_quick", a_second_term_is_quick),
    ("who_serves_unheard_is_spared_once", who_serves_unheard_is_spared_once),
    ("workers_do_not_outlive_a_killed_master", workers_do_not_outlive_a_killed_master),
    ("more_and_fewer_workers", more_and_fewer_workers),
    ("logs_are_reopened_everywhere", logs_are_reopened_everywhere),
    ("a_storm_of_signals_is_survived", a_storm_of_signals_is_survived),
    ("workers_inherit_nothing_of_each_other", workers_inherit_nothing_of_each_other),
];

fn main() -> ExitCode {
    server::log_to_the_test();
    let wanted =
        env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut failed = 0;
    let mut stderr = std::io::stderr();
    let all = [TESTS, examination::TESTS, preload::TESTS, host::TESTS, control::TESTS].concat();
    for (name, test) in all.iter().filter(|(name, _)| name.contains(&wanted)) {
        let began = Instant::now();
        let outcome = panic::catch_unwind(test);
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        failed += usize::from(outcome.is_err());
        let _ = writeln!(stderr, "supervise {name} ... {word} ({:.2?})", began.elapsed());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn starts_and_stops() {
    let mut server = Server::start(options(3), &[Conduct::Serve]);
    server.expect_ready(3);
    server.signal(Signal::SIGTERM);
    server.expect(&["stopping", "mode=graceful"]);
    for _ in 0..3 {
        server.expect(&["exited", "reason=asked"]);
    }
    assert_eq!(server.end(), 0);
    server.assert_said(&["listeners closed"], 1);
    server.assert_no_trouble();
}

fn int_is_quick() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut server = Server::start(options(2), &[Conduct::Serve]);
        server.expect_ready(2);
        server.signal(signal);
        server.expect(&["stopping", "mode=quick"]);
        assert_eq!(server.end(), 0);
        server.assert_no_trouble();
    }
}

fn quick_means_killed_if_need_be() {
    let mut server = Server::start(options(1), &[Conduct::Deaf]);
    server.expect_ready(1);
    server.signal(Signal::SIGINT);
    let asked_at = server.expect(&["stopping", "mode=quick"]);
    let killed_at = server.expect(&["quick timeout", "worker=1"]);
    let given = killed_at.since(asked_at);
    assert!(given >= Duration::from_millis(490), "only {given:?} were given");
    server.expect(&["worker died", "reason=\"quick timeout\""]);
    assert_eq!(server.end(), 0);
}

fn a_broken_app_ends_the_start() {
    for (conduct, code) in
        [(Conduct::FailToBoot(3), 3), (Conduct::FailToBoot(4), 4), (Conduct::FailToBoot(1), 3)]
    {
        let mut server = Server::start(options(2), &[conduct]);
        server.expect(&["ERROR", "start failed"]);
        assert_eq!(server.end(), code);
        server.assert_said(&["start failed"], 1);
        server.assert_said(&["traceback"], 1);
        server.assert_said(&["respawn"], 0);
        let killed = server.lines().filter(|line| line.contains("exited")).count();
        server.assert_said(&["ERROR", "worker died"], 2 - killed);
    }
}

fn a_hung_boot_ends_the_start() {
    let quick = Options { boot_timeout: Some(Duration::from_millis(100)), ..options(2) };
    let mut server = Server::start(quick, &[Conduct::HangInBoot]);
    server.expect(&["start failed", "reason=\"boot timeout\""]);
    assert_eq!(server.end(), 3);
}

fn a_killed_worker_is_replaced() {
    let mut server = Server::start(options(3), &[Conduct::Serve]);
    server.expect_ready(3);
    for _ in 0..2 {
        let pid = server.pid_of(2);
        server.kill(pid, Signal::SIGKILL);
        server.expect(&["worker died", "worker=2", "reason=\"signal SIGKILL\"", "signal=SIGKILL"]);
        server.expect(&["ready", "worker=2"]);
        assert_ne!(server.pid_of(2), pid);
    }
    server.stop();
}

fn a_terminated_worker_is_replaced() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    server.kill(server.pid_of(1), Signal::SIGTERM);
    server.expect(&["draining", "worker=1"]);
    server.expect(&["ready"]);
    server.expect_ever(&["exited", "worker=1", "reason=asked"]);
    server.stop();
    server.assert_no_trouble();
}

fn a_crash_loop_slows_down() {
    let mut server = Server::start(options(1), &[Conduct::DieOnceReady]);
    server.expect_ready(1);
    server.expect(&["ERROR", "worker died", "reason=\"exit code 7\""]);
    let delayed_at = server.expect(&["respawn delayed", "delay=0.50s"]);
    let ready_at = server.expect(&["ready"]);
    assert!(ready_at.since(delayed_at) >= Duration::from_millis(490), "the delay was not kept");
    server.expect(&["respawn delayed", "delay=1.0s"]);
    server.assert_said(&["booting"], 3);
    server.stop();
}

fn a_panic_is_an_exit_code() {
    let mut server = Server::start(options(1), &[Conduct::Panic]);
    server.expect(&["start failed", "reason=\"exit code 1\""]);
    assert_eq!(server.end(), 3);
}

fn a_closed_channel_is_ended() {
    let mut server = Server::start(options(2), &[Conduct::CloseChannel { nr: 1 }]);
    server.expect_ready(2);
    server.expect(&["channel lost", "worker=1"]);
    server.expect(&["worker died", "worker=1", "reason=\"channel lost\""]);
    server.stop();
}

fn a_reload_goes_one_by_one() {
    let mut server = Server::start(options(3), &[Conduct::Serve, Conduct::Serve]);
    server.expect_ready(3);
    server.signal(Signal::SIGHUP);
    server.expect(&["reloading", "generation=2"]);
    server.expect(&["reloaded", "generation=2"]);
    server.expect(&["generation 1 dropped"]);
    let mut old = 3;
    let mut new = 0;
    for line in server.lines() {
        let second = line.contains("generation=2");
        if line.contains("ready") && second {
            new += 1;
        } else if line.contains("exited") && !second {
            old -= 1;
        }
        assert!(old + new >= 3, "{old} old and {new} new workers at {line}");
    }
    assert_eq!((old, new), (0, 3));
    server.stop();
    server.assert_no_trouble();
}

fn wrong_settings_change_nothing() {
    let mut server = Server::start(options(2), &[Conduct::Serve, Conduct::WrongSettings]);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["ERROR", "reload failed", "reason=\"no such setting\"", "serving=1"]);
    server.stop();
    server.assert_said(&["booting"], 2);
    server.assert_said(&["reload failed"], 1);
}

fn a_reload_that_cannot_boot_is_abandoned() {
    let conducts = [Conduct::Serve, Conduct::FailToBoot(3), Conduct::Serve];
    let mut server = Server::start(options(2), &conducts);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["reload failed", "generation=2", "serving=1"]);
    server.expect(&["generation 2 dropped"]);
    server.assert_said(&["exited", "generation=1"], 0);
    server.assert_said(&["traceback"], 1);
    server.signal(Signal::SIGHUP);
    server.expect(&["reloaded", "generation=3"]);
    server.stop();
    server.assert_said(&["reload failed"], 1);
}

fn a_reload_that_hangs_is_abandoned() {
    let short = Options { boot_timeout: Some(Duration::from_millis(300)), ..options(2) };
    let mut server = Server::start(short, &[Conduct::Serve, Conduct::HangInBoot]);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["booting", "generation=2"]);
    // Everything else works meanwhile.
    server.signal(Signal::SIGUSR1);
    server.expect(&["reopened", "by the master"]);
    server.expect(&["reload failed", "boot timeout"]);
    server.expect(&["worker died", "generation=2", "reason=\"boot timeout\""]);
    server.stop();
    server.assert_said(&["exited", "generation=1"], 2);
}

fn a_stop_ends_a_reload() {
    let mut server = Server::start(options(2), &[Conduct::Serve, Conduct::HangInBoot]);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["booting", "generation=2"]);
    server.stop();
    server.assert_no_trouble();
}

fn a_reload_restarts_a_reload() {
    let conducts = [Conduct::Serve, Conduct::HangInBoot, Conduct::Serve];
    let mut server = Server::start(options(2), &conducts);
    server.expect_ready(2);
    server.signal(Signal::SIGHUP);
    server.expect(&["booting", "generation=2"]);
    server.signal(Signal::SIGHUP);
    server.expect(&["reloaded", "generation=3"]);
    server.stop();
    server.assert_no_trouble();
}

fn term_waits_for_the_slow() {
    let mut server = Server::start(options(2), &[Conduct::FinishAtGate { nr: 1 }]);
    server.expect_ready(2);
    server.signal(Signal::SIGTERM);
    server.expect(&["finishing", "worker=1"]);
    server.expect_ever(&["exited", "worker=2", "reason=asked"]);
    server.open_gate();
    server.expect(&["exited", "worker=1", "reason=asked"]);
    assert_eq!(server.end(), 0);
    server.assert_no_trouble();
}

fn term_waits_no_longer_than_agreed() {
    let short = Options { graceful_timeout: Duration::from_millis(200), ..options(2) };
    let mut server = Server::start(short, &[Conduct::Deaf]);
    server.expect_ready(2);
    server.signal(Signal::SIGTERM);
    server.expect(&["ERROR", "graceful timeout", "worker=1"]);
    server.expect(&["ERROR", "graceful timeout", "worker=2"]);
    server.expect(&["worker died", "reason=\"graceful timeout\""]);
    assert_eq!(server.end(), 0);
}

fn a_second_term_is_quick() {
    let mut server = Server::start(options(2), &[Conduct::FinishAtGate { nr: 1 }]);
    server.expect_ready(2);
    server.signal(Signal::SIGTERM);
    server.expect(&["stopping", "mode=graceful"]);
    server.signal(Signal::SIGTERM);
    server.expect(&["stopping", "mode=quick"]);
    assert_eq!(server.end(), 0);
}

fn who_serves_unheard_is_spared_once() {
    let short = Options { graceful_timeout: Duration::from_millis(200), ..options(1) };
    let mut server = Server::start(short, &[Conduct::ServeUnheard]);
    server.expect(&["unheard"]);
    server.signal(Signal::SIGTERM);
    server.expect(&["ERROR", "graceful timeout", "worker=1"]);
    server.expect(&["worker died", "reason=\"graceful timeout\""]);
    assert_eq!(server.end(), 0);
}

fn workers_do_not_outlive_a_killed_master() {
    let mut server = Server::start(options(3), &[Conduct::Deaf]);
    server.expect_ready(3);
    server.signal(Signal::SIGKILL);
    server.expect_silence();
}

fn more_and_fewer_workers() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    for nr in [2, 3] {
        server.signal(Signal::SIGTTIN);
        server.expect(&["workers changed", &format!("workers={nr}")]);
        server.expect(&["ready", &format!("worker={nr}")]);
    }
    for count in [2, 1] {
        server.signal(Signal::SIGTTOU);
        server.expect(&["workers changed", &format!("workers={count}")]);
        server.expect(&["exited", "reason=asked"]);
    }
    server.signal(Signal::SIGTTOU);
    server.expect(&["WARN", "workers at their limit", "workers=1"]);
    server.stop();
}

fn logs_are_reopened_everywhere() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    server.signal(Signal::SIGUSR1);
    server.expect(&["reopened", "by the master"]);
    server.expect_ever(&["reopened", "worker=1"]);
    server.expect_ever(&["reopened", "worker=2"]);
    server.stop();
    server.assert_no_trouble();
}

fn a_storm_of_signals_is_survived() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    let storm = [
        Signal::SIGHUP,
        Signal::SIGTTIN,
        Signal::SIGCHLD,
        Signal::SIGTTOU,
        Signal::SIGUSR1,
        Signal::SIGWINCH,
    ];
    for signal in storm.iter().cycle().take(600) {
        server.signal(*signal);
    }
    server.signal(Signal::SIGUSR2);
    server.expect(&["upgrade failed", "not here"]);
    server.stop();
    server.assert_said(&["ERROR"], 1);
}

fn workers_inherit_nothing_of_each_other() {
    let mut server = Server::start(options(4), &[Conduct::Serve]);
    server.expect_ready(4);
    server.stop();
    let descriptors: Vec<&str> = server
        .lines()
        .filter_map(|line| line.split_once("descriptors=").map(|(_, count)| count))
        .collect();
    assert_eq!(descriptors.len(), 4);
    assert!(descriptors.windows(2).all(|pair| pair[0] == pair[1]), "{descriptors:?}");
}
