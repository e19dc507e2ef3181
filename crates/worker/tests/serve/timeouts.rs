//! Clients that take their time.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use ironhorn_worker::{Options, Reply};

use crate::client::End;
use crate::harness::{Closes, PATIENCE, Server, Setup, echo, head, ok};

const SHORT: Duration = Duration::from_millis(100);

fn with(change: impl FnOnce(&mut Options)) -> Server {
    Setup::new().options(change).start(echo)
}

#[test]
fn a_head_that_does_not_end_is_a_408() {
    let server = with(|options| options.header_timeout = Some(SHORT));
    let began = Instant::now();
    let mut client = server.connect();
    assert_eq!(client.send("GET / HTTP/1.1\r\nHo").response().status, 408);
    assert!(began.elapsed() >= SHORT);
    client.is_closed();
    // One of which nothing came has nothing to be told.
    server.connect().is_closed();
}

#[test]
fn a_head_has_one_deadline_however_it_drips_in() {
    let server = with(|options| options.header_timeout = Some(3 * SHORT));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let began = Instant::now();
    while !client.hears_within(SHORT / 10) {
        // It may be closed by now.
        let _ = client.try_send("x");
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= 2 * SHORT);
    assert_eq!(client.response().status, 408);
}

#[test]
fn a_head_behind_a_response_has_a_deadline_of_its_own() {
    let server = with(|options| options.header_timeout = Some(10 * SHORT));
    let mut client = server.connect();
    client.send("GET /a HTTP/1.1\r\nHost");
    assert!(!client.hears_within(6 * SHORT));
    client.send(": a\r\n\r\nGET /b HT");
    assert_eq!(client.response().text(), "/a ");
    assert!(!client.hears_within(6 * SHORT));
    client.send("TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "/b ");
    // And the wait for the next head isn't the wait within one.
    assert!(!client.hears_within(12 * SHORT));
    client.send("GET");
    assert_eq!(client.response().status, 408);
}

#[test]
fn a_body_that_does_not_go_on_is_a_408() {
    let server = with(|options| options.body_timeout = Some(3 * SHORT));
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    let began = Instant::now();
    // Each piece has the whole time.
    for piece in ["a", "b", "c", "d"] {
        assert!(!client.hears_within(SHORT));
        client.send(piece);
    }
    assert!(began.elapsed() >= 4 * SHORT);
    assert_eq!(client.response().status, 408);
    assert!(began.elapsed() >= 7 * SHORT);
    client.is_closed();
    assert_eq!(server.slot.read().requests, 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let server = with(|options| options.keepalive = SHORT);
    let mut client = server.connect();
    // A new connection has the time of a head.
    assert!(!client.hears_within(2 * SHORT));
    for _ in 0..3 {
        assert_eq!(client.get("/").response().text(), "/ ");
        assert!(!client.hears_within(SHORT / 10));
    }
    client.is_closed();
}

#[test]
fn a_response_that_nobody_takes_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let closes = Closes::default();
        let counted = closes.clone();
        let server = setup.options(|options| options.write_timeout = Some(SHORT)).start(
            move |asked, exchange| match asked.target.as_str() {
                "/stream" => {
                    head(exchange, "200 OK", &[]);
                    let rest = counted.made(|_| Ok(Some(vec![b'x'; 1 << 20])));
                    Reply::Stream { first: Some(b"x".to_vec()), rest }
                }
                _ => ok(exchange, vec![b'x'; 64 << 20]),
            },
        );
        for (requests, target) in [(1, "/stream"), (2, "/whole")] {
            let began = Instant::now();
            let mut client = server.connect();
            client.get(target).exactly(1);
            server.wait_for_requests(requests);
            server.wait_for_connections(0);
            assert!(began.elapsed() >= SHORT);
            let got = match client.end() {
                End::Closed(got) | End::Reset(got) => got.len(),
            };
            assert!(got < 64 << 20);
        }
        assert_eq!(closes.count(), 1);
        server.stop();
    }
}

#[test]
fn a_reader_that_gets_on_is_not_given_up() {
    const SIZE: usize = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new()
        .unix(directory.path())
        .options(|options| options.write_timeout = Some(20 * SHORT))
        .start(|_, exchange| ok(exchange, vec![b'x'; SIZE]));
    let mut client = server.connect();
    client.get("/").head();
    let began = Instant::now();
    for _ in 0..16 {
        client.exactly(SIZE / 16);
        server.turns.time(14);
    }
    assert!(began.elapsed() > 20 * SHORT);
    assert_eq!(client.get("/").head().lines().next(), Some("HTTP/1.1 200 OK"));
}

#[test]
fn what_came_while_the_app_ran_came_in_time() {
    if crate::THREADS != 0 {
        return; // The loop hears of it at once.
    }
    let (meets, met) = mpsc::channel::<()>();
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new()
        .unix(directory.path())
        .options(|options| {
            options.header_timeout = Some(SHORT);
            options.body_timeout = Some(SHORT);
            options.keepalive = SHORT;
            options.write_timeout = Some(SHORT);
        })
        .start(move |asked, exchange| match asked.target.as_str() {
            "/meeting" => {
                met.recv().unwrap();
                echo(asked, exchange)
            }
            "/large" => ok(exchange, vec![b'x'; 2 << 20]),
            _ => echo(asked, exchange),
        });
    let mut meeting = server.connect();
    let mut idle = server.connect();
    let mut large = server.connect();
    let mut header = server.connect();
    let mut body = server.connect();
    idle.get("/").response();
    large.get("/large").head();
    header.send("GET / HTTP/1.1\r\n");
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    server.wait_for_connections(5);
    meeting.get("/meeting");
    server.wait_until("the app is called", || server.request() == "GET /meeting");
    idle.get("/");
    header.send("Host: a\r\n\r\n");
    body.send("b");
    large.exactly(100_000);
    // All the deadlines pass.
    assert!(!meeting.hears_within(2 * SHORT));
    meets.send(()).unwrap();
    assert_eq!(idle.response().text(), "/ ");
    assert_eq!(header.response().text(), "/ ");
    assert_eq!(body.response().text(), "/ ab");
    large.exactly((2 << 20) - 100_000);
    assert_eq!(meeting.response().text(), "/meeting ");
}

#[test]
fn without_a_limit_a_client_may_take_its_time() {
    let server = with(|options| {
        options.header_timeout = None;
        options.body_timeout = None;
        options.write_timeout = None;
    });
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost");
    assert!(!client.hears_within(SHORT));
    client.send(": a\r\nContent-Length: 2\r\n\r\na");
    assert!(!client.hears_within(SHORT));
    client.send("b");
    assert_eq!(client.response().text(), "/ ab");
}

#[test]
fn a_body_that_drips_in_is_a_408() {
    let server = with(|options| {
        options.body_timeout = Some(3 * SHORT);
        options.body_min_rate = 1000;
    });
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let began = Instant::now();
    while !client.hears_within(SHORT / 10) {
        // It may be closed by now.
        let _ = client.try_send("x");
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= 3 * SHORT);
    assert_eq!(client.response().status, 408);

    // One that is fast enough has its pauses.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n");
    client.send("x".repeat(3996));
    for _ in 0..4 {
        assert!(!client.hears_within(2 * SHORT));
        client.send("x");
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_drips_the_response_out_is_cut_off() {
    for (rate, whole) in [(0, true), (1 << 30, false)] {
        let directory = tempfile::tempdir().unwrap();
        let server = Setup::new()
            .unix(directory.path())
            .options(|options| {
                options.write_timeout = Some(5 * SHORT);
                options.write_min_rate = rate;
            })
            .start(|_, exchange| ok(exchange, vec![b'x'; 4 << 20]));
        let mut client = server.connect();
        client.get("/");
        let began = Instant::now();
        let mut taken = 0;
        while began.elapsed() < 8 * SHORT {
            taken += client.exactly(4096).len();
            server.turns.time(2);
        }
        let (End::Closed(rest) | End::Reset(rest)) = client.half_close().end();
        assert_eq!(taken + rest.len() > 4 << 20, whole, "rate {rate}");
    }
}
