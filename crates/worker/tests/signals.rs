//! Signals that somebody sends to a worker.
//!
//! Alone in its program, as signals are the process's.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

/// The loop runs the app.
#[allow(dead_code, reason = "for the harness")]
const THREADS: usize = 0;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/harness.rs"]
mod harness;

use std::sync::atomic::Ordering;

use ironhorn_unix::{Pid, Signal, kill};
use ironhorn_worker::Left;

use harness::{Setup, echo};

const CAUGHT: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGHUP,
    Signal::SIGWINCH,
];

#[test]
fn a_worker_heeds_signals_of_its_own() {
    let send = |signal| kill(Pid::this(), signal).unwrap();

    let server = Setup::new().signals(&CAUGHT).start(echo);
    let mut client = server.connect();
    client.get("/").response();
    send(Signal::SIGUSR1);
    let reopens = || server.reopens.load(Ordering::SeqCst);
    server.wait_until("logs are opened anew", || reopens() == 1);
    // These are the master's business.
    send(Signal::SIGHUP);
    send(Signal::SIGWINCH);
    send(Signal::SIGUSR1);
    server.wait_until("logs are opened anew", || reopens() == 2);
    assert_eq!(client.get("/").response().field("Connection"), None);
    send(Signal::SIGTERM);
    server.wait_until("the worker retires", || {
        server.slot.read().state == ironhorn_unix::State::Draining
    });
    assert_eq!(client.get("/").response().field("Connection"), Some("close"));
    client.is_closed();
    assert_eq!(server.left(), Left::Drained);

    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let server = Setup::new().signals(&CAUGHT).start(echo);
        let mut client = server.connect();
        client.get("/").response();
        send(signal);
        assert_eq!(server.left(), Left::Quit);
        client.is_closed();
    }
}
