//! How many connections a worker takes.

use std::sync::mpsc;

use ironhorn_unix::{Address, BindOptions, Listener, Peer, ToWorker};
use ironhorn_worker::Left;

use crate::harness::{Setup, echo, meeting};

#[test]
fn a_full_worker_leaves_connections_in_the_queue() {
    let server = Setup::new().options(|options| options.worker_connections = 2).start(echo);
    let mut first = server.connect();
    let mut second = server.connect();
    for client in [&mut first, &mut second] {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    }
    server.wait_for_connections(2);
    let mut third = server.connect();
    let mut fourth = server.connect();
    third.get("/third");
    fourth.get("/fourth");
    // The others go on, and it isn't taken.
    for _ in 0..10 {
        first.send("x");
        server.turns.time(2);
        assert_eq!(server.slot.read().connections, 2);
    }
    drop(second);
    assert_eq!(third.response().text(), "/third ");
    server.wait_for_connections(2);
    drop(first);
    assert_eq!(fourth.response().text(), "/fourth ");
    server.tell(ToWorker::Stop);
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn the_one_that_was_idle_for_longest_makes_room() {
    let server = Setup::new().options(|options| options.worker_connections = 3).start(echo);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/").response();
    }
    clients[0].get("/").response();
    let mut new = server.connect();
    assert_eq!(new.get("/new").response().text(), "/new ");
    clients[1].is_closed();
    for client in [0, 2] {
        assert_eq!(clients[client].get("/").response().text(), "/ ");
    }
    assert_eq!(server.slot.read().connections, 3);
}

#[test]
fn a_request_that_has_come_is_answered_before_room_is_made() {
    let (meets, app) = meeting();
    let server = Setup::new().options(|options| options.worker_connections = 2).start(app);
    let mut kept = server.connect();
    kept.get("/").response();
    let held = server.hold();
    // Both have come by the time that the loop looks.
    kept.get("/kept");
    let mut new = server.connect();
    new.get("/new");
    meets.send(()).unwrap();
    assert_eq!(kept.response().text(), "/kept ");
    assert_eq!(new.response().text(), "/new ");
    drop(held);
}

#[test]
fn heads_that_do_not_end_make_room_after_a_moment() {
    let server = Setup::new().options(|options| options.worker_connections = 3).start(echo);
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send("GET / HT");
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let mut first = server.connect();
    first.send(upload);
    server.wait_for_connections(3);
    let mut second = server.connect();
    second.send(upload);
    let mut third = server.connect();
    third.get("/third");
    silent.is_closed();
    assert_eq!(slow.response().status, 408);
    assert_eq!(third.response().text(), "/third ");
    for client in [&mut first, &mut second] {
        assert_eq!(client.send("body").response().text(), "/ body");
    }
}

#[test]
fn several_listeners_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let addresses = vec![
        "127.0.0.1:0".parse().unwrap(),
        Address::Unix(directory.path().join("socket")),
        "127.0.0.1:0".parse().unwrap(),
    ];
    let (tells, told) = mpsc::channel();
    let server = Setup::new().listeners(addresses).start(move |asked, exchange| {
        tells.send((asked.listener, asked.peer)).unwrap();
        echo(asked, exchange)
    });
    let mut clients: Vec<_> = (0..3).map(|listener| server.connect_to(listener)).collect();
    for (listener, client) in clients.iter_mut().enumerate() {
        client.get("/").response();
        let (by, peer) = told.recv().unwrap();
        assert_eq!(by, listener);
        assert_eq!(peer == Peer::Unix, listener == 1);
    }
}

#[test]
fn two_workers_share_a_listener() {
    if crate::THREADS != 0 {
        return; // These know of each other by the board alone, and here each has its own.
    }
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    let local = listener.local().clone();
    let shared = listener.try_clone().unwrap();
    let (meets, app) = meeting();
    let first = Setup::new().start_on(vec![shared], vec![local.clone()], app);
    let mut busy = first.hold();
    // While one of them runs its app, the other takes all that come.
    let second = Setup::new().start_on(vec![listener], vec![local], echo);
    let mut clients: Vec<_> = (0..40).map(|_| second.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").response().text(), "/ ");
    }
    second.wait_for_requests(40);
    meets.send(()).unwrap();
    assert_eq!(busy.response().text(), "/meeting ");
    // And when one leaves, the other goes on.
    first.tell(ToWorker::Retire);
    drop(busy);
    assert_eq!(first.left(), Left::Drained);
    for _ in 0..20 {
        assert_eq!(second.connect().get("/").response().text(), "/ ");
    }
}
