//! How many connections a worker takes.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use ironhorn_unix::{Address, BindOptions, Listener, Peer, ToWorker};
use ironhorn_worker::{Left, Reply};

use crate::THREADS;
use crate::client::{Client, End};
use crate::harness::{Closes, Setup, echo, head, meeting};

/// So many turns of a loop that rests take longer than a client has to begin.
const A_MOMENT: u64 = 60;
/// What no buffer of the kernel takes.
const LARGE: usize = 32 << 20;

/// Begins a request with a body of so many bytes.
fn begin_upload(client: &mut Client, length: usize) -> &mut Client {
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"))
}

#[test]
fn requests_that_the_app_has_make_no_room() {
    if THREADS == 0 {
        return; // The loop stands still meanwhile.
    }
    let (meets, app) = meeting();
    let server = Setup::new().options(|options| options.worker_connections = 2).start(app);
    let mut first = server.hold();
    let mut second = server.connect();
    second.get("/meeting");
    server.wait_for_connections(2);
    let mut third = server.connect();
    third.get("/third");
    server.turns.time(A_MOMENT);
    assert_eq!(server.slot.read().connections, 2);
    for client in [&mut first, &mut second] {
        meets.send(()).unwrap();
        assert_eq!(client.response().text(), "/meeting ");
    }
    assert_eq!(third.response().text(), "/third ");
    server.tell(ToWorker::Stop);
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn the_slowest_body_makes_room_after_a_moment() {
    let server = Setup::new().options(|options| options.worker_connections = 3).start(echo);
    let [mut quick, mut slow, mut slower] = [(); 3].map(|()| server.connect());
    begin_upload(&mut quick, 3_000_000).send(vec![b'x'; 2_999_999]);
    begin_upload(&mut slow, 300_000).send(vec![b'x'; 100_000]);
    begin_upload(&mut slower, 300_000).send("x");
    server.wait_for_connections(3);
    server.turns.time(A_MOMENT);
    let mut new = server.connect();
    assert_eq!(new.get("/new").response().text(), "/new ");
    assert_eq!(slower.response().status, 408);
    begin_upload(&mut new, 3_000_000).send(vec![b'x'; 2_999_999]);
    let mut another = server.connect();
    assert_eq!(another.get("/another").response().text(), "/another ");
    assert_eq!(slow.response().status, 408);
    for client in [&mut quick, &mut new] {
        assert_eq!(client.send("x").response().body.len(), "/ ".len() + 3_000_000);
    }
    assert_eq!(server.slot.read().connections, 3);
}

#[test]
fn the_slowest_reader_makes_room_after_a_moment() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Setup::new().options(|options| options.worker_connections = 3).start(
        move |asked, exchange| match asked.target.as_str() {
            "/large" => {
                head(exchange, "200 OK", &[]);
                let (mut file, rest) = (tempfile::tempfile().unwrap(), counted.of([]));
                file.write_all(&vec![b'x'; LARGE]).unwrap();
                Reply::File { file: file.into(), offset: 0, length: LARGE as u64, rest }
            }
            _ => echo(asked, exchange),
        },
    );
    let [mut upload, mut slow, mut still] = [(); 3].map(|()| server.connect());
    begin_upload(&mut upload, 3_000_000).send(vec![b'x'; 2_999_999]);
    slow.get("/large").exactly(1);
    still.get("/large").exactly(1);
    server.wait_for_connections(3);
    server.turns.time(A_MOMENT);
    // What a socket takes at once is more than a second's worth of a slow client.
    slow.exactly(LARGE / 2);
    let mut new = server.connect();
    assert_eq!(new.get("/new").response().text(), "/new ");
    server.wait_until("close() is called", || closes.count() == 1);
    assert!(matches!(still.end(), End::Reset(rest) if rest.len() < LARGE));
    assert!(slow.exactly(LARGE / 2).iter().all(|&byte| byte == b'x'));
    assert_eq!(upload.send("x").response().body.len(), "/ ".len() + 3_000_000);
}

#[test]
fn drips_leave_room_for_all_that_come() {
    let server = Setup::new()
        .options(|options| {
            options.worker_connections = 20;
            options.health_path = Some("/healthz".to_owned());
        })
        .start(echo);
    let mut drips: Vec<_> = (0..20).map(|_| server.connect()).collect();
    drips.iter_mut().for_each(|drip| _ = begin_upload(drip, 100_000).send("x"));
    server.wait_for_connections(20);
    // Each stays: it takes the place of a drip that has gone for it.
    let mut others: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for other in &mut others {
        let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n";
        other.send([health, upload].concat());
        assert_eq!(other.response().status, 200);
        other.send(vec![b'x'; 100_000]);
    }
    others.iter_mut().for_each(|other| assert_eq!(other.send("x").response().status, 200));
    let gone = drips.iter_mut().map(|drip| drip.hears_within(Duration::from_millis(1)));
    assert_eq!(gone.filter(|gone| *gone).count(), 10, "no more than had to");
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
    if THREADS != 0 {
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
