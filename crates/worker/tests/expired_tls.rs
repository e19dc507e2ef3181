//! Requests over TLS whose client is told 504 while the app runs on the loop's thread.
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
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/identity.rs"]
mod identity;

use std::sync::mpsc;

use ironhorn_unix::{Monotonic, Pid, Received, ToMaster, examine};
use ironhorn_worker::{Gone, Reply};

use client::Client;
use harness::{Closes, Server, head, ok};
use identity::made;

/// How often the app and the handler want to answer at the same time.
const RACES: usize = 300;

fn ask_to_expire(server: &Server, busy_since: Monotonic) {
    server.slot.lane(0).ask_to_expire(busy_since);
    examine(Pid::this()).unwrap();
}

#[track_caller]
fn wait_examined(server: &Server) {
    server.wait_until("it has answered", || {
        server.master().receive().unwrap() == Received::Message(ToMaster::Examined)
    });
}

/// Asks, and waits until the app has the request.
#[track_caller]
fn ask(server: &Server, client: &mut Client, request: &str) -> Monotonic {
    client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
    server.wait_until("the app is called", || server.request() == request);
    server.slot.lane(0).read().unwrap().busy_since
}

#[test]
fn a_client_gets_one_answer() {
    let made = made();
    let (meets, met) = mpsc::channel::<()>();
    let closes = Closes::default();
    let counted = closes.clone();
    let setup = made.setup().examined().options(|options| options.expires = true);
    let server = setup.start(move |asked, exchange| {
        head(exchange, "200 OK", &[]);
        match asked.target.as_str() {
            "/interim" => exchange.interim(103, &[(b"Link".into(), b"</a>".into())]).unwrap(),
            "/begun" => exchange.write(b"begun").unwrap(),
            _ => {}
        }
        met.recv().unwrap();
        match asked.target.as_str() {
            "/write" => assert_eq!(exchange.write(b"late"), Err(Gone)),
            "/stream" | "/begun" => {
                return Reply::Stream { first: Some(b"a".to_vec()), rest: counted.of([b"b"]) };
            }
            _ => {}
        }
        ok(exchange, "late")
    });

    for target in ["/", "/write", "/stream", "/interim"] {
        let (requests, closed) = (server.slot.read().requests, closes.count());
        let mut client = made.connect(&server);
        let since = ask(&server, &mut client, &format!("GET {target}"));
        ask_to_expire(&server, since);
        wait_examined(&server);
        assert!(server.slot.lane(0).is_expired());
        if target == "/interim" {
            assert_eq!(client.response().status, 103);
        }
        // The app is still in its call.
        let response = client.response();
        assert_eq!((response.status, response.text()), (504, "Gateway Timeout\n"), "{target}");
        assert_eq!(response.field("Connection"), Some("close"));
        client.is_closed();
        meets.send(()).unwrap();
        server.wait_for_requests(requests + 1);
        assert_eq!(closes.count() - closed, usize::from(target == "/stream"));
    }

    let mut client = made.connect(&server);
    let since = ask(&server, &mut client, "HEAD /");
    ask_to_expire(&server, since);
    assert_eq!(client.response_to("HEAD").status, 504);
    client.is_closed();
    wait_examined(&server);
    meets.send(()).unwrap();

    // A head that is out can't be taken back.
    let mut client = made.connect(&server);
    let since = ask(&server, &mut client, "GET /begun");
    ask_to_expire(&server, since);
    wait_examined(&server);
    assert!(!server.slot.lane(0).is_expired());
    meets.send(()).unwrap();
    assert_eq!(client.response().text(), "begunab");

    for race in 0..RACES {
        let mut client = made.connect(&server);
        let since = ask(&server, &mut client, &format!("GET /{race}"));
        if race % 2 == 0 {
            meets.send(()).unwrap();
            ask_to_expire(&server, since);
        } else {
            ask_to_expire(&server, since);
            meets.send(()).unwrap();
        }
        let response = client.response();
        match response.status {
            200 => assert_eq!(response.text(), "late"),
            504 => {
                assert_eq!(response.text(), "Gateway Timeout\n");
                client.is_closed();
            }
            other => panic!("{other}"),
        }
        wait_examined(&server);
    }
    server.stop();
}
