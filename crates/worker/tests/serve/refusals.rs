//! Requests that are refused, and the answer's way to the client.

use std::time::Duration;

use crate::client::End;
use crate::harness::{Server, Setup, echo, meeting};

#[test]
fn a_refusal_is_answered_and_the_connection_closed() {
    let server = Setup::new().options(|options| options.limits.body = Some(10)).start(echo);
    for (wire, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\n",
            413,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\n\r\n", 417),
    ] {
        let mut client = server.connect();
        let response = client.send(wire).response();
        assert_eq!(response.status, status, "{wire}");
        assert_eq!(response.field("Connection"), Some("close"));
        assert_eq!(response.field("Server"), Some("ironhorn"));
        client.is_closed();
    }
    assert_eq!(server.slot.read().requests, 0);
    server.wait_for_connections(0);
}

#[test]
fn what_was_asked_before_is_answered_first() {
    let server = Server::start(echo);
    let mut client = server.connect();
    client.get("/a").get("/b").send("nonsense\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "/a ");
    assert_eq!(client.response().text(), "/b ");
    assert_eq!(client.response().status, 400);
    client.is_closed();
}

#[test]
fn the_answer_survives_what_is_still_being_sent() {
    // Without lingering the unread bytes would reset the connection, and the answer be lost.
    const SIZE: usize = 64 << 20;
    let server = Setup::new().options(|options| options.limits.body = Some(10)).start(echo);
    for part in [0, 1 << 20] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.send(vec![b'x'; part]);
        // The server has refused by now, and goes on reading all the same.
        server.wait_until("the request is refused", || server.slot.read().connections == 1);
        for _ in 0..(SIZE - part) >> 20 {
            client.send(vec![b'x'; 1 << 20]);
        }
        assert_eq!(client.response().status, 413);
        client.is_closed();
    }
    // Meanwhile others are served.
    let mut busy = server.connect();
    busy.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut client = server.connect();
    for _ in 0..20 {
        busy.send(vec![b'x'; 1 << 20]);
        assert_eq!(client.get("/").response().text(), "/ ");
    }
}

#[test]
fn the_last_answer_survives_requests_behind_it() {
    let server = Setup::new().options(|options| options.keepalive = Duration::ZERO).start(echo);
    for count in 1..=20 {
        let mut client = server.connect();
        client.get("/last");
        if count % 2 == 0 {
            // It is answered, and by a careless server closed.
            server.wait_for_requests(count);
            server.turns.time(1);
        }
        client.get("/unheard").send("x".repeat(300_000));
        assert_eq!(client.response().text(), "/last ");
        client.is_closed();
    }
    server.wait_for_requests(20);
}

#[test]
fn a_refused_client_may_close_first() {
    let server = Server::start(echo);
    for size in [0, 100, 300_000, 3 << 20] {
        let mut client = server.connect();
        client.send("nonsense\r\n\r\n").send("x".repeat(size)).half_close();
        assert_eq!(client.response().status, 400);
        client.is_closed();
    }
    server.wait_for_connections(0);
}

#[test]
fn what_a_refused_client_sends_last_is_read() {
    let (meets, app) = meeting();
    let server = Server::start(app);
    let mut client = server.connect();
    client.send("nonsense\r\n\r\n");
    server.wait_for_connections(1);
    server.turns.time(1);
    let mut busy = server.hold();
    // Both directions are shut when the worker looks again, and there is something to read.
    client.send("x".repeat(100_000)).half_close();
    meets.send(()).unwrap();
    assert_eq!(busy.response().text(), "/meeting ");
    assert_eq!(client.response().status, 400);
    client.is_closed();
}

#[test]
fn a_refused_client_that_keeps_silent_is_left() {
    let server = Server::start(echo);
    let mut client = server.connect();
    assert_eq!(client.send("nonsense\r\n\r\n").response().status, 400);
    assert_eq!(client.end(), End::Closed(Vec::new()));
    // It doesn't close its side: two seconds later the server does without.
    server.wait_for_connections(0);
}
