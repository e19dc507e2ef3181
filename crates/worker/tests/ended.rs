//! A worker that is about to be killed tells its clients so.
//!
//! Alone in its program, as signals are the process's; the handler runs on any of its threads.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

/// App threads, for the harness.
#[allow(dead_code, reason = "for the harness")]
const THREADS: usize = 2;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/harness.rs"]
mod harness;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ironhorn_unix::{Pid, Received, ToMaster, examine};

use client::Client;
use harness::{Door, Server, Setup, echo, head, ok};

#[track_caller]
fn ask(server: &Server, path: &str, connections: u32) -> Client {
    let mut client = server.connect();
    client.get(path);
    server.wait_for_connections(connections);
    client
}

#[test]
fn what_was_begun_gets_504_and_what_was_not_503() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, door) = (Arc::clone(&calls), Door::shut());
    let setup = Setup::new().examined().access_log("%(U)s %(s)s", &path);
    let setup = setup.options(|options| options.queue = 1);
    let (interpreter, stuck) = (setup.interpreter.clone(), door.clone());
    let server = setup.start_pool(2, move |asked, exchange| {
        counted.fetch_add(1, Ordering::SeqCst);
        if asked.target == "/stuck" {
            stuck.pass();
        }
        head(exchange, "200 OK", &[]);
        if asked.target == "/stuck" { ok(exchange, "late") } else { echo(asked, exchange) }
    });
    // Others come before it is known that none gets by the interpreter any more.
    let mut kept = [(); 3].map(|()| server.connect());
    for client in &mut kept {
        assert_eq!(client.get("/").response().text(), "/ ");
    }
    let mut stuck = ask(&server, "/stuck", 4);
    server.wait_until("the app is called", || calls.load(Ordering::SeqCst) == 4);
    interpreter.shuts();
    // One for which a thread comes, one that is queued, one that there is no room for.
    for client in &mut kept {
        client.get("/waits");
    }
    server.turns.time(3);

    server.slot.announce_end();
    examine(Pid::this()).unwrap();
    server.wait_until("all are told", || {
        server.master().receive().unwrap() == Received::Message(ToMaster::Examined)
    });
    assert_eq!(stuck.response().status, 504);
    assert!(server.slot.lanes() == 2 && server.slot.read().running[0].expired);
    for client in &mut kept {
        let response = client.response();
        assert_eq!((response.status, response.text()), (503, "Service Unavailable\n"));
        assert_eq!(response.field("Connection"), Some("close"));
        client.is_closed();
    }
    assert!(server.try_connect().is_err(), "nobody else is taken in");
    // If it came by the interpreter after all, nothing of that would be run.
    interpreter.open();
    door.open();
    stuck.is_closed();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    drop(kept);
    let lines = || fs::read_to_string(&path).unwrap();
    server.wait_until("its line", || lines().ends_with("/stuck 504\n"));
    assert_eq!(lines(), "/ 200\n".repeat(3) + &"/waits 503\n".repeat(3) + "/stuck 504\n");
}
