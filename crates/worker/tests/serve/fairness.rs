//! What one client or app does leaves the others their turn, their memory and their access lines.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ironhorn_unix::{BindOptions, Board, Listener, State};
use ironhorn_worker::Reply;

use crate::client::Client;
use crate::harness::{Closes, PATIENCE, Server, Setup, echo, head, meeting, ok};

#[test]
fn a_slow_body_gives_others_a_turn_after_each_chunk() {
    let (makes, made) = mpsc::channel::<Option<Vec<u8>>>();
    let (asks, asked_for) = mpsc::channel();
    let mut ends = Some((made, asks));
    let closes = Closes::default();
    let server = Server::start(move |asked, exchange| {
        if asked.target != "/slow" {
            return echo(asked, exchange);
        }
        head(exchange, "200 OK", &[]);
        let (made, asks) = ends.take().unwrap();
        let rest = closes.made(move |_| {
            asks.send(()).unwrap();
            Ok(made.recv().unwrap())
        });
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut quick = server.connect();
    quick.get("/").response();
    let mut slow = server.connect();
    slow.get("/slow").head();
    for _ in 0..5 {
        asked_for.recv_timeout(PATIENCE).unwrap();
        quick.get("/quick");
        assert!(!quick.hears_within(Duration::from_millis(50)), "the worker waits for the chunk");
        makes.send(Some(b"more".to_vec())).unwrap();
        assert_eq!(quick.response().text(), "/quick ");
    }
    makes.send(None).unwrap();
    while slow.chunk().is_some() {}
}

#[test]
fn a_body_beyond_its_length_is_not_made_for_ever() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        head(exchange, "200 OK", &[("Content-Length", "4")]);
        if asked.target == "/written" {
            exchange.write(b"abcde").unwrap();
        }
        let rest = counted.made(|_| Ok(Some(b"def".to_vec())));
        Reply::Stream { first: Some(b"abc".to_vec()), rest }
    });
    let mut client = server.connect();
    for target in ["/", "/written", "/"] {
        assert_eq!(client.get(target).response().body.len(), 4);
    }
    server.wait_until("close() is called", || closes.count() == 3);
    server.stop();
    assert_eq!(closes.count(), 3);
}

#[test]
fn a_line_is_written_before_the_app_is_called_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (meets, app) = meeting();
    let server = Setup::new().access_log("%(U)s", &path).start(app);
    let mut client = server.connect();
    // In one turn, as they come in one piece.
    client.send(
        ["/a", "/b", "/meeting"]
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .concat(),
    );
    server.wait_until("the lines of what was served before", || {
        fs::read_to_string(&path).unwrap() == "/a\n/b\n"
    });
    assert_eq!(server.request(), "GET /meeting");
    meets.send(()).unwrap();
    server.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "/a\n/b\n/meeting\n");
}

#[test]
fn bodies_share_what_memory_there_is() {
    const SIZE: usize = 1 << 20;
    let server = Server::start(|asked, exchange| ok(exchange, asked.spooled.to_string()));
    let all_but_the_last_byte = [
        format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes(),
        vec![b'x'; SIZE - 1],
    ]
    .concat();
    // Half as many again as there is memory for.
    let mut clients: Vec<Client> = (0..96).map(|_| server.connect()).collect();
    server.wait_for_connections(96);
    for client in &mut clients {
        client.send(&all_but_the_last_byte);
    }
    server.turns.time(10);
    let mut spooled = 0;
    for client in &mut clients {
        spooled += usize::from(client.send("x").response().text() == "true");
    }
    assert!(spooled > 0, "there is no limit");
    assert!(spooled < clients.len(), "there is no memory");
    // It is free again.
    for client in &mut clients {
        client.send(&all_but_the_last_byte).send("x");
        assert_eq!(client.response().text(), "false");
    }
}

#[test]
fn a_response_behind_one_that_was_late_has_a_time_of_its_own() {
    /// Of a unix socket's buffer, which holds some 208 KiB, more than is left; but the rest of it
    /// finds room when half of the buffer is read, which isn't enough for poll(2) to tell.
    const FIRST: usize = 250_000;
    const SECOND: usize = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let server = Setup::new()
        .unix(directory.path())
        .options(|options| options.write_timeout = Some(Duration::from_millis(300)))
        .start(|asked, exchange| match asked.target.as_str() {
            "/first" => ok(exchange, vec![b'x'; FIRST]),
            _ => ok(exchange, vec![b'y'; SECOND]),
        });
    let mut client = server.connect();
    client.get("/first").get("/second");
    client.head();
    client.exactly(110_000);
    server.wait_for_requests(1);
    client.exactly(FIRST - 110_000);
    assert_eq!(client.response().body, vec![b'y'; SECOND]);
}

#[test]
fn every_listener_has_its_turn_before_the_app() {
    let (meets, met) = mpsc::channel::<()>();
    let (calls, called) = mpsc::channel();
    let listeners = ["127.0.0.1:0"; 2]
        .map(|address| Listener::bind(&address.parse().unwrap(), &BindOptions::default()).unwrap());
    let locals = listeners.iter().map(|listener| listener.local().clone()).collect();
    let queue = TcpListener::from(listeners[1].as_fd().try_clone_to_owned().unwrap());
    let server = Setup::new().start_on(listeners.into(), locals, move |asked, exchange| {
        calls.send(asked.target.clone()).unwrap();
        met.recv().unwrap();
        echo(asked, exchange)
    });
    let call = || called.recv_timeout(PATIENCE).unwrap();
    let mut first = server.connect();
    first.get("/first");
    assert_eq!(call(), "/first");
    // Both wait when the loop turns again.
    let mut clients = [0, 1].map(|listener| server.connect_to(listener));
    for (index, client) in clients.iter_mut().enumerate() {
        client.get(&format!("/new-{index}"));
    }
    meets.send(()).unwrap();
    assert_eq!(call(), "/new-0");
    assert_eq!(queue.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    for _ in 0..2 {
        meets.send(()).unwrap();
    }
    for client in &mut clients {
        client.response();
    }
}

/// While it did, workers whose connections come and go accepted a few in 2 ms, and nothing else.
#[test]
fn who_has_not_too_many_any_more_leaves_none_to_others() {
    let board = Board::new(2).unwrap();
    // It looks idle, and takes nothing.
    board.slot(2).set_state(State::Ready);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &BindOptions::default());
    let server = Setup::new().sharing(&board, 1, &listener.unwrap()).start(echo);
    let mut waited: Vec<Duration> = (0..41)
        .map(|_| {
            let mut held = [server.connect(), server.connect()];
            server.wait_for_connections(2);
            let turned = server.slot.read().heartbeat;
            let mut third = server.connect();
            third.get("/");
            server.wait_until("it leaves the third to the other", || {
                server.slot.read().heartbeat > turned
            });
            let began = Instant::now();
            held[0].reset();
            assert_eq!(third.response().text(), "/ ");
            let waited = began.elapsed();
            drop((held, third));
            server.wait_for_connections(0);
            waited
        })
        .collect();
    waited.sort_unstable();
    // Now and then the machine has it wait, or the client has left before it was looked.
    assert!(waited[10] < Duration::from_micros(1500), "{waited:?}");
}
