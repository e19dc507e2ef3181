//! Bodies that the app makes as it goes.

use std::sync::mpsc;

use ironhorn_worker::{Failed, Reply};

use crate::client::End;
use crate::harness::{Closes, Server, Setup, echo, head, meeting};

#[test]
fn each_chunk_is_delivered_as_it_is_made() {
    let (makes, made) = mpsc::channel::<Option<&'static str>>();
    let mut made = Some(made);
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        let made = made.take().unwrap();
        let rest = counted.made(move |_| Ok(made.recv().unwrap().map(|chunk| chunk.into())));
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut client = server.connect();
    assert!(client.get("/").head().contains("Transfer-Encoding: chunked"));
    assert_eq!(client.chunk().unwrap(), b"first");
    for chunk in ["second", "third"] {
        makes.send(Some(chunk)).unwrap();
        assert_eq!(client.chunk().unwrap(), chunk.as_bytes());
    }
    assert_eq!(closes.count(), 0);
    makes.send(None).unwrap();
    assert_eq!(client.chunk(), None);
    server.wait_until("close() is called", || closes.count() == 1);
    server.stop();
    assert_eq!(closes.count(), 1);
}

#[test]
fn framing_follows_what_is_known() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        let fields: &[_] = match asked.target.as_str() {
            "/length" => &[("Content-Length", "6")],
            _ => &[],
        };
        head(exchange, "200 OK", fields);
        match asked.target.as_str() {
            "/empty" => Reply::Stream { first: None, rest: counted.of([]) },
            _ => Reply::Stream { first: Some(b"ab".to_vec()), rest: counted.of([b"cd", b"ef"]) },
        }
    });
    let mut client = server.connect();
    let response = client.get("/chunked").response();
    assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
    assert_eq!(response.text(), "abcdef");
    let response = client.get("/length").response();
    assert_eq!((response.field("Transfer-Encoding"), response.text()), (None, "abcdef"));
    assert_eq!(client.get("/empty").response().field("Content-Length"), Some("0"));
    client.send("HEAD /chunked HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response_to("HEAD");
    client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!((response.field("Connection"), response.text()), (Some("close"), "abcdef"));
    drop(client);
    server.stop();
    assert_eq!(closes.count(), 5);
}

#[test]
fn nobody_makes_what_nobody_sees() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        head(exchange, if asked.method == "HEAD" { "200 OK" } else { "304 Not Modified" }, &[]);
        let rest = counted.made(|_| panic!("asked for another chunk"));
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut client = server.connect();
    for method in ["HEAD", "GET", "HEAD"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).response_to(method);
    }
    server.wait_until("close() is called", || closes.count() == 3);
}

#[test]
fn an_endless_body_leaves_others_their_turn() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        if asked.target != "/endless" {
            return echo(asked, exchange);
        }
        head(exchange, "200 OK", &[]);
        let rest = counted.made(|_| Ok(Some(b"more".to_vec())));
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut endless = server.connect();
    endless.get("/endless").exactly(1000);
    let mut client = server.connect();
    for _ in 0..20 {
        endless.exactly(1000);
        assert_eq!(client.get("/").response().text(), "/ ");
    }
    assert_eq!(closes.count(), 0);
    drop(endless);
    server.wait_until("the app learns that its client has gone", || closes.count() == 1);
    server.wait_for_connections(1);
    server.stop();
    assert_eq!(closes.count(), 1);
}

#[test]
fn chunks_that_come_at_once_leave_others_their_turn() {
    if crate::THREADS != 0 {
        return; // Whose turn it is, the kernel decides.
    }
    let (meets, mut app) = meeting();
    let (tells, told) = mpsc::channel();
    let closes = Closes::default();
    let server = Server::start(move |asked, exchange| {
        if asked.target != "/stream" {
            tells.send(asked.target.clone()).unwrap();
            return app(asked, exchange);
        }
        head(exchange, "200 OK", &[]);
        let mut left = 1000;
        let tells = tells.clone();
        let rest = closes.made(move |_| {
            left -= 1;
            if left == 0 {
                tells.send("the end".to_owned()).unwrap();
            }
            Ok((left > 0).then(|| b"x".to_vec()))
        });
        Reply::Stream { first: Some(b"x".to_vec()), rest }
    });
    let mut busy = server.hold();
    let mut stream = server.connect();
    let mut other = server.connect();
    stream.get("/stream");
    other.get("/other");
    meets.send(()).unwrap();
    busy.response();
    assert_eq!(stream.response().body.len(), 1000);
    assert_eq!(other.response().text(), "/other ");
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, ["/meeting", "/other", "the end"]);
}

#[test]
fn a_client_that_leaves_a_blocked_stream_closes_it() {
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let closes = Closes::default();
        let counted = closes.clone();
        let server = setup.start(move |_, exchange| {
            head(exchange, "200 OK", &[]);
            let rest = counted.made(|_| Ok(Some(vec![b'x'; 1 << 20])));
            Reply::Stream { first: Some(b"first".to_vec()), rest }
        });
        let mut client = server.connect();
        client.get("/").exactly(5);
        server.wait_until("the socket is full", || {
            let seen = server.slot.read();
            seen.connections == 1 && !seen.is_busy()
        });
        drop(client);
        server.wait_until("close() is called", || closes.count() == 1);
        server.wait_for_connections(0);
        server.wait_for_requests(1);
        server.stop();
        assert_eq!(closes.count(), 1);
    }
}

#[test]
fn a_failure_after_the_head_can_be_told() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        let fields: &[_] = match asked.target.as_str() {
            "/length" => &[("Content-Length", "100")],
            _ => &[],
        };
        head(exchange, "200 OK", fields);
        let mut chunks = [Ok(Some(b"second".to_vec())), Err(Failed)].into_iter();
        let rest = counted.made(move |_| chunks.next().unwrap());
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    // No last chunk.
    let mut client = server.connect();
    client.get("/").head();
    assert_eq!(client.end(), End::Closed(b"5\r\nfirst\r\n6\r\nsecond\r\n".to_vec()));
    // Fewer bytes than announced.
    let mut client = server.connect();
    client.get("/length").head();
    assert_eq!(client.end(), End::Closed(b"firstsecond".to_vec()));
    // Where the end of the connection is the end of the body, a reset.
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(client.end(), End::Reset(_)));
    server.wait_until("close() is called", || closes.count() == 3);
    server.stop();
    assert_eq!(closes.count(), 3);
}

#[test]
fn a_stream_short_of_its_length_ends_the_connection() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        head(exchange, "200 OK", &[("Content-Length", "10")]);
        match asked.target.as_str() {
            "/none" => Reply::Stream { first: None, rest: counted.of([]) },
            _ => Reply::Stream { first: Some(b"abc".to_vec()), rest: counted.of([b"def"]) },
        }
    });
    for (target, body) in [("/some", "abcdef"), ("/none", "")] {
        let mut client = server.connect();
        client.get(target).head();
        assert_eq!(client.end(), End::Closed(body.into()));
    }
    // HEAD owes no body.
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("HEAD /none HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").field("Content-Length"), Some("10"));
    }
    server.wait_until("close() is called", || closes.count() == 4);
}

#[test]
fn chunks_beyond_the_length_are_dropped() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |_, exchange| {
        head(exchange, "200 OK", &[("Content-Length", "4")]);
        Reply::Stream { first: Some(b"abc".to_vec()), rest: counted.of([b"def", b"ghi"]) }
    });
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").response().text(), "abcd");
    }
    server.wait_until("close() is called", || closes.count() == 3);
}

#[test]
fn a_slow_reader_gets_every_chunk() {
    const CHUNKS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Setup::new().unix(directory.path()).start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        let mut made = 0;
        let rest = counted.made(move |_| {
            made += 1;
            Ok((made < CHUNKS).then(|| vec![(made % 251) as u8; 40_000]))
        });
        Reply::Stream { first: Some(vec![0; 40_000]), rest }
    });
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/").head();
    }
    for chunk in 0..CHUNKS {
        for client in &mut clients {
            assert_eq!(client.chunk().unwrap(), vec![(chunk % 251) as u8; 40_000]);
        }
    }
    for client in &mut clients {
        assert_eq!(client.chunk(), None);
    }
    server.wait_until("close() is called", || closes.count() == 4);
}
