//! One connection, several requests.

use std::time::{Duration, Instant};

use ironhorn_worker::Reply;

use crate::client::End;
use crate::harness::{Closes, Server, Setup, echo, head, meeting, ok};

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = Server::start(echo);
    let mut client = server.connect();
    for target in ["/1", "/2", "/3"] {
        let response = client.get(target).response();
        assert_eq!((response.status, response.text()), (200, format!("{target} ").as_str()));
        assert_eq!(response.field("Connection"), None);
        assert_eq!(response.field("Server"), Some("ironhorn"));
        assert!(response.field("Date").is_some());
    }
    server.wait_for_requests(3);
    server.stop();
}

#[test]
fn the_app_gets_the_request_as_it_came() {
    let server = Server::start(|asked, exchange| {
        let fields = asked
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
        let fields = fields.collect::<Vec<_>>().join(",");
        let (method, target, version) = (&asked.method, &asked.target, asked.version);
        ok(exchange, format!("{method} {target} {version} {fields}"))
    });
    let mut client = server.connect();
    client.send("\r\nPURGE /a%20b?c HTTP/1.1\r\nhost:a\r\nX-A:  b c \r\nX-A: d\r\n\r\n");
    assert_eq!(client.response().text(), "PURGE /a%20b?c HTTP/1.1 host=a,X-A=b c,X-A=d");
}

#[test]
fn the_client_may_ask_for_the_end() {
    let server = Server::start(echo);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().field("Connection"), Some("close"));
    client.is_closed();
}

/// To close a socket that has received what nobody has read resets the connection, and what waits to
/// be sent is lost.
#[test]
fn a_response_is_not_lost_to_what_comes_behind_the_last_request() {
    let (release, app) = meeting();
    let server = Server::start(app);
    for requests in 1..20 {
        let mut client = server.connect();
        client.send("GET /meeting HTTP/1.0\r\n\r\n");
        server.wait_until("the app is called", || server.request() == "GET /meeting");
        client.send("what nobody will read");
        release.send(()).unwrap();
        assert_eq!(client.response().text(), "/meeting ");
        server.wait_for_requests(requests);
    }
    server.stop();
}

#[test]
fn http_1_0_is_kept_only_if_asked() {
    let server = Server::start(echo);
    let mut client = server.connect();
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("Connection"), Some("keep-alive"));
    assert_eq!(response.text(), "/a ");
    client.send("GET /b HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("Connection"), Some("close"));
    client.is_closed();
}

#[test]
fn keepalive_of_zero_ends_each_connection() {
    let server = Setup::new().options(|options| options.keepalive = Duration::ZERO).start(echo);
    let mut client = server.connect();
    assert_eq!(client.get("/").response().field("Connection"), Some("close"));
    client.is_closed();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(echo);
    let mut client = server.connect();
    let mut wire = String::new();
    for n in 0..100 {
        // Every third has a body, some of them chunked.
        wire += &match n % 6 {
            0 => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{n:04}"),
            3 => format!(
                "POST /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\n{:02}\r\n2\r\n{:02}\r\n0\r\n\r\n",
                n / 100,
                n % 100
            ),
            _ => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
    }
    client.send(wire);
    for n in 0..100 {
        let body = if n % 3 == 0 { format!("{n:04}") } else { String::new() };
        assert_eq!(client.response().text(), format!("/{n} {body}"));
    }
    assert_eq!(client.get("/last").response().text(), "/last ");
    server.stop();
}

#[test]
fn pipelined_requests_may_be_cut_anywhere() {
    let server = Server::start(echo);
    let wire = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n\
                GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = server.connect();
    for cut in 1..wire.len() {
        client.send(&wire[..cut]);
        // Meet in the middle, that the two parts are two reads.
        let requests = 3 * (cut as u64 - 1);
        let whole = (wire[..cut].contains("abc") as u64)
            + (wire[..cut].contains("0\r\n\r\n") as u64)
            + (cut == wire.len()) as u64;
        server.wait_until("the first part is served", || {
            server.slot.read().requests >= requests + whole
        });
        client.send(&wire[cut..]);
        for expected in ["/a abc", "/b def", "/c "] {
            assert_eq!(client.response().text(), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_pipelined_request_waits_for_a_blocked_response() {
    const SIZE: usize = 16 << 20;
    let server = Server::start(|asked, exchange| match asked.target.as_str() {
        "/large" => crate::harness::ok(exchange, vec![b'x'; SIZE]),
        _ => echo(asked, exchange),
    });
    let mut client = server.connect();
    client.get("/large").get("/next");
    // Others are served in the meantime.
    assert_eq!(server.connect().get("/other").response().text(), "/other ");
    assert_eq!(client.response().body.len(), SIZE);
    assert_eq!(client.response().text(), "/next ");
}

#[test]
fn a_flood_of_requests_leaves_others_their_turn() {
    let server = Server::start(echo);
    let mut flood = server.connect();
    flood.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000));
    assert_eq!(server.connect().get("/other").response().text(), "/other ");
    for _ in 0..2000 {
        assert_eq!(flood.response().text(), "/ ");
    }
}

#[test]
fn a_client_that_sends_no_more_is_answered() {
    let server = Server::start(echo);
    let mut client = server.connect();
    client.get("/a").get("/b").half_close();
    assert_eq!(client.response().text(), "/a ");
    assert_eq!(client.response().text(), "/b ");
    client.is_closed();

    // Likewise on a connection that epoll knows.
    let mut client = server.connect();
    assert_eq!(client.get("/a").response().text(), "/a ");
    client.get("/b").half_close();
    assert_eq!(client.response().text(), "/b ");
    client.is_closed();
    server.wait_for_connections(0);
}

#[test]
fn a_request_cut_short_is_not_run() {
    let server = Server::start(echo);
    for part in ["GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc"] {
        let mut client = server.connect();
        client.send(part).half_close();
        client.is_closed();
    }
    assert_eq!(server.slot.read().requests, 0);
}

#[test]
fn a_queued_request_is_not_run_if_its_client_has_gone() {
    if crate::THREADS != 0 {
        return; // It is for a loop that stands still while the app runs.
    }
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let (meets, app) = meeting();
        let server = setup.start(app);
        let mut old = server.connect();
        assert_eq!(old.get("/").response().text(), "/ ");
        let mut other = server.hold();
        // One that waits to be accepted, and one that epoll knows.
        let mut new = server.connect();
        new.get("/gone").reset();
        old.get("/gone").reset();
        meets.send(()).unwrap();
        assert_eq!(other.response().text(), "/meeting ");
        server.wait_for_connections(1);
        assert_eq!(other.get("/").response().text(), "/ ");
        server.wait_for_requests(3);
    }
}

#[test]
fn a_response_outlives_the_keep_alive_time() {
    const SHORT: Duration = Duration::from_millis(100);
    let closes = Closes::default();
    let server =
        Setup::new().options(|options| options.keepalive = SHORT).start(move |asked, exchange| {
            match asked.target.as_str() {
                "/endless" => {
                    head(exchange, "200 OK", &[]);
                    let rest = closes.made(|_| Ok(Some(b"more".to_vec())));
                    Reply::Stream { first: Some(b"first".to_vec()), rest }
                }
                _ => echo(asked, exchange),
            }
        });
    let mut client = server.connect();
    client.get("/").response();
    client.get("/endless").head();
    let began = Instant::now();
    while began.elapsed() < 5 * SHORT {
        assert!(client.chunk().is_some());
    }
}

#[test]
fn the_first_response_may_be_the_last() {
    // The connection is never polled: accepted, read, answered, closed.
    let server = Server::start(echo);
    for _ in 0..50 {
        let mut client = server.connect();
        client.send("GET / HTTP/1.0\r\n\r\n");
        let End::Closed(all) = client.end() else { panic!("reset") };
        assert!(all.ends_with(b"\r\n\r\n/ "));
    }
    server.wait_for_requests(50);
}
