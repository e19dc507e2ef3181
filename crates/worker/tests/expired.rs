//! Requests whose client is told 504 by the signal handler, while the app runs.
//!
//! Alone in its program, as signals are the process's; the handler runs on any of its threads.

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

use std::fs;
use std::sync::mpsc;

use ironhorn_unix::{Monotonic, Pid, Received, ToMaster, examine};
use ironhorn_worker::{Gone, Reply};

use client::Client;
use harness::{Closes, Server, Setup, head, ok};

/// Has the worker examine itself, as the master does with one that is stuck.
#[track_caller]
fn expire(server: &Server, busy_since: Monotonic) {
    server.slot.lane(0).ask_to_expire(busy_since);
    examine(Pid::this()).unwrap();
    server.wait_until("it has answered", || {
        server.master().receive().unwrap() == Received::Message(ToMaster::Examined)
    });
}

/// Asks, and waits until the app has the request.
#[track_caller]
fn ask(server: &Server, client: &mut Client, request: &str, behind: &str) -> Monotonic {
    client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n{behind}"));
    server.wait_until("the app is called", || server.request() == request);
    server.slot.lane(0).read().unwrap().busy_since
}

#[test]
fn a_client_gets_one_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let lines = || fs::read_to_string(&path).unwrap_or_default();
    let (meets, met) = mpsc::channel::<()>();
    let closes = Closes::default();
    let counted = closes.clone();
    let setup = Setup::new().examined().access_log("%(m)s %(U)s %(s)s %({x}o)s", &path);
    let server = setup.start(move |asked, exchange| {
        head(exchange, "200 OK", &[("X", "y")]);
        match asked.target.as_str() {
            "/interim" => exchange.interim(103, &[(b"Link".into(), b"</a>".into())]).unwrap(),
            "/begun" => exchange.write(b"begun").unwrap(),
            _ => {}
        }
        met.recv().unwrap();
        match asked.target.as_str() {
            "/write" => {
                assert_eq!(exchange.write(b"late"), Err(Gone));
                assert_eq!(exchange.write(b"later"), Err(Gone));
                assert!(!exchange.head_sent());
            }
            "/hint" => exchange.interim(103, &[(b"Link".into(), b"</a>".into())]).unwrap(),
            "/stream" | "/begun" => {
                return Reply::Stream { first: Some(b"a".to_vec()), rest: counted.of([b"b"]) };
            }
            "/fails" => return Reply::Failed,
            _ => {}
        }
        ok(exchange, "late")
    });

    // Nobody is in the app.
    expire(&server, Monotonic::now());

    for target in ["/", "/write", "/hint", "/stream", "/fails", "/interim"] {
        let (requests, closed) = (server.slot.read().requests, closes.count());
        let mut client = server.connect();
        let behind = "GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";
        let since = ask(&server, &mut client, &format!("GET {target}"), behind);
        expire(&server, since);
        assert!(server.slot.lane(0).is_expired());
        if target == "/interim" {
            assert_eq!(client.response().status, 103);
        }
        let response = client.response();
        assert_eq!((response.status, response.text()), (504, "Gateway Timeout\n"), "{target}");
        assert_eq!(response.field("Connection"), Some("close"));
        meets.send(()).unwrap();
        client.is_closed();
        server.wait_for_requests(requests + 1);
        assert_eq!(closes.count() - closed, usize::from(target == "/stream"));
        server.wait_until("its line", || lines().ends_with(&format!("GET {target} 504 -\n")));
    }

    let mut client = server.connect();
    let since = ask(&server, &mut client, "HEAD /", "");
    expire(&server, since);
    assert_eq!(client.response_to("HEAD").status, 504);
    meets.send(()).unwrap();
    client.is_closed();

    // A head that is out can't be taken back, and another request isn't this one.
    for (target, wrong, answer) in [("/begun", 0, "begunab"), ("/", 1, "late")] {
        let mut client = server.connect();
        let since = ask(&server, &mut client, &format!("GET {target}"), "");
        expire(&server, Monotonic::from_nanos(since.as_nanos() + wrong));
        assert!(!server.slot.lane(0).is_expired());
        meets.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, answer));
        meets.send(()).unwrap();
        assert_eq!(client.get("/").response().text(), "late", "the connection is kept");
    }
    server.stop();
}
