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
        assert_eq!(client.get("/").response().text(), "/ ");
    }
    let mut third = server.connect();
    let mut fourth = server.connect();
    third.get("/third");
    fourth.get("/fourth");
    // The others go on, and it isn't taken.
    for _ in 0..10 {
        assert_eq!(first.get("/").response().text(), "/ ");
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
