//! More requests than one at a time, and more than there are threads.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ironhorn_unix::{BindOptions, Board, Listener, State, ToWorker};
use ironhorn_worker::{Exchange, Left, Reply};

use crate::client::{Client, End};
use crate::harness::{Answer, Asked, Closes, Door, Server, Setup, echo, head, ok};

/// What no buffer of the kernel takes.
const LARGE: usize = 32 << 20;

/// Waits at the door for `/wait`, and counts how many requests the app has been called for.
fn doorkeeper(
    door: &Door,
    calls: &Arc<AtomicUsize>,
) -> impl Fn(&Asked, &mut dyn Exchange) -> Answer + Send + Sync + use<> {
    let (door, calls) = (door.clone(), Arc::clone(calls));
    move |asked, exchange| {
        calls.fetch_add(1, Ordering::SeqCst);
        if asked.target.starts_with("/wait") {
            door.pass();
        }
        echo(asked, exchange)
    }
}

/// Asks, and waits until the app is called.
#[track_caller]
fn hold(server: &Server, calls: &AtomicUsize, path: &str) -> Client {
    let before = calls.load(Ordering::SeqCst);
    let mut client = server.connect();
    client.get(path);
    server.wait_until("the app is called", || calls.load(Ordering::SeqCst) > before);
    client
}

#[test]
fn requests_run_at_the_same_time() {
    let together = Barrier::new(3);
    let server = Setup::new().start_pool(3, move |asked, exchange| {
        together.wait();
        echo(asked, exchange)
    });
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for (number, client) in clients.iter_mut().enumerate() {
        client.get(&format!("/{number}"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number} "));
    }
    server.wait_for_requests(3);
    server.stop();
}

#[test]
fn a_connection_has_one_request_run_at_a_time() {
    let running = AtomicUsize::new(0);
    let server = Setup::new().start_pool(4, move |asked, exchange| {
        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
        std::thread::yield_now();
        running.fetch_sub(1, Ordering::SeqCst);
        echo(asked, exchange)
    });
    let mut client = server.connect();
    let requests = (0..100).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.send(requests.collect::<String>());
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("/{number} "));
    }
    server.stop();
}

#[test]
fn a_slow_reader_of_what_is_known_holds_no_thread() {
    let closes = Closes::default();
    let counted = closes.clone();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![b'f'; LARGE]).unwrap();
    let server = Setup::new().start_pool(1, move |asked, exchange| match asked.target.as_str() {
        "/bytes" => ok(exchange, vec![b'b'; LARGE]),
        "/file" => {
            head(exchange, "200 OK", &[]);
            let (file, length) = (file.try_clone().unwrap().into(), LARGE as u64);
            Reply::File { file, offset: 0, length, rest: counted.of([]) }
        }
        _ => echo(asked, exchange),
    });
    let mut readers = ["/bytes", "/file"].map(|path| {
        let mut reader = server.connect();
        reader.get(path).head();
        reader
    });
    for _ in 0..3 {
        assert_eq!(server.connect().get("/").response().text(), "/ ");
    }
    assert_eq!(closes.count(), 0);
    for (reader, letter) in readers.iter_mut().zip([b'b', b'f']) {
        assert!(reader.exactly(LARGE).iter().all(|&byte| byte == letter));
        assert_eq!(reader.get("/again").response().text(), "/again ");
    }
    server.wait_until("close() is called", || closes.count() == 1);

    // Neither does one that leaves.
    let mut reader = server.connect();
    reader.get("/file").head();
    reader.reset();
    server.wait_until("close() is called", || closes.count() == 2);
    server.stop();
    assert_eq!(closes.count(), 2);
}

#[test]
fn a_stream_holds_its_thread_and_never_runs_ahead() {
    let closes = Closes::default();
    let counted = closes.clone();
    let made = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&made);
    let server = Setup::new().start_pool(2, move |asked, exchange| {
        if asked.target != "/stream" {
            return echo(asked, exchange);
        }
        head(exchange, "200 OK", &[]);
        let counts = Arc::clone(&counts);
        let rest = counted.made(move |_| {
            counts.fetch_add(1, Ordering::SeqCst);
            Ok(Some(vec![b'x'; 1 << 20]))
        });
        Reply::Stream { first: Some(b"x".to_vec()), rest }
    });
    let mut reader = server.connect();
    reader.get("/stream").head();
    let seen = || made.load(Ordering::SeqCst);
    let before = std::cell::Cell::new(usize::MAX);
    server.wait_until("the stream stands still", || before.replace(seen()) == seen() && seen() > 0);
    assert!(seen() < 40, "{} MiB were made that nobody has read", seen());
    assert_eq!(server.connect().get("/").response().text(), "/ ");
    let before = seen();
    reader.exactly(20 << 20);
    server.wait_until("it goes on", || seen() > before);
    drop(reader);
    server.wait_until("close() is called", || closes.count() == 1);
    server.stop();
}

#[test]
fn what_the_queue_has_no_room_for_is_not_read() {
    let (door, calls) = (Door::shut(), Arc::default());
    let setup = Setup::new().options(|options| {
        options.queue = 1;
        options.health_path = Some("/health".to_owned());
    });
    let server = setup.start_pool(1, doorkeeper(&door, &calls));
    let mut first = hold(&server, &calls, "/wait/1");
    let mut second = server.connect();
    second.get("/wait/2");
    server.wait_for_connections(2);
    // Some come with a head that is whole, others with a body that isn't.
    let mut upload = server.connect();
    upload.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n");
    server.wait_for_connections(3);
    let mut others: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.get(&format!("/{number}"));
    }
    server.wait_for_connections(8);
    // The loop is not held up, and answers what is its own to answer.
    let mut health = server.connect();
    assert_eq!(health.get("/health").response().text(), "ready\n");
    assert!(!others[4].hears_within(Duration::from_millis(1)));

    let sender = std::thread::spawn(move || {
        upload.send(vec![b'u'; 64 << 20]);
        upload.response().body.len()
    });
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    door.open();
    assert_eq!(first.response().text(), "/wait/1 ");
    assert_eq!(second.response().text(), "/wait/2 ");
    for (number, other) in others.iter_mut().enumerate() {
        assert_eq!(other.response().text(), format!("/{number} "));
        assert_eq!(other.get("/health").response().text(), "ready\n");
    }
    assert_eq!(sender.join().unwrap(), (64 << 20) + "/up ".len());
    server.stop();
    assert_eq!(calls.load(Ordering::SeqCst), 8);
}

#[test]
fn who_waits_too_long_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (door, calls) = (Door::shut(), Arc::default());
    let setup = Setup::new().access_log("%(m)s %(U)s %(s)s", &path).options(|options| {
        options.queue = 2;
        options.queue_timeout = Some(Duration::from_millis(100));
    });
    let server = setup.start_pool(1, doorkeeper(&door, &calls));
    let mut first = hold(&server, &calls, "/wait");
    let mut queued = server.connect();
    queued.get("/queued");
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    server.wait_for_connections(3);
    let mut held_back = server.connect();
    held_back.get("/back");
    for client in [&mut queued, &mut upload, &mut held_back] {
        let response = client.response();
        assert_eq!((response.status, response.text()), (503, "Service Unavailable\n"));
        assert_eq!(response.field("Retry-After"), Some("1"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    door.open();
    assert_eq!(first.response().text(), "/wait ");
    assert_eq!(queued.get("/again").response().text(), "/again ");
    drop(held_back);
    server.stop();
    let log = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["GET /again 200", "GET /back 503", "GET /queued 503", "GET /wait 200", "POST /upload 503"]
    );
}

#[test]
fn who_has_left_while_waiting_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let (door, calls) = (Door::shut(), Arc::default());
        let setup = setup.options(|options| options.queue = 3);
        let server = setup.start_pool(1, doorkeeper(&door, &calls));
        let mut first = hold(&server, &calls, "/wait");
        let mut leaving: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut leaving {
            client.get("/leaves");
        }
        server.wait_for_connections(5);
        leaving[0].half_close();
        drop(leaving);
        server.wait_for_connections(1);
        let mut waits = server.connect();
        waits.get("/waits");
        door.open();
        assert_eq!(first.response().text(), "/wait ");
        assert_eq!(waits.response().text(), "/waits ");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        server.stop();
    }
}

#[test]
fn who_sends_no_more_is_answered_if_a_thread_is_free() {
    let server = Setup::new().start_pool(2, echo);
    for _ in 0..20 {
        let mut client = server.connect();
        client.get("/").half_close();
        assert_eq!(client.response().text(), "/ ");
    }
    server.stop();
}

#[test]
fn what_waits_is_served_before_the_worker_leaves() {
    for order in [ToWorker::Stop, ToWorker::Retire, ToWorker::RetireLast] {
        let (door, calls) = (Door::shut(), Arc::default());
        let setup = Setup::new().options(|options| options.queue = 2);
        let server = setup.start_pool(2, doorkeeper(&door, &calls));
        let running = [hold(&server, &calls, "/wait"), hold(&server, &calls, "/wait")];
        let waiting = [(); 5].map(|()| {
            let mut client = server.connect();
            client.get("/waits");
            client
        });
        server.wait_for_connections(7);
        server.tell(order);
        server.wait_until("it drains", || server.slot.read().state == State::Draining);
        door.open();
        for mut client in running.into_iter().chain(waiting) {
            let response = client.response();
            assert_eq!((response.status, response.field("Connection")), (200, Some("close")));
            client.is_closed();
        }
        assert_eq!(server.left(), Left::Drained);
        assert_eq!(calls.load(Ordering::SeqCst), 7);
    }
}

#[test]
fn a_worker_that_quits_waits_for_no_thread() {
    let (door, calls) = (Door::shut(), Arc::default());
    let server = Setup::new().start_pool(1, doorkeeper(&door, &calls));
    let running = hold(&server, &calls, "/wait");
    let mut waiting = server.connect();
    waiting.get("/waits");
    server.wait_for_connections(2);
    server.tell(ToWorker::Quit);
    assert_eq!(server.left(), Left::Quit);
    assert!(matches!(waiting.end(), End::Closed(rest) | End::Reset(rest) if rest.is_empty()));
    door.open();
    drop(running);
}

#[test]
fn a_thread_that_dies_ends_the_worker() {
    let server = Setup::new().start_pool(2, |asked, exchange| {
        assert!(asked.target != "/panic", "on purpose");
        echo(asked, exchange)
    });
    assert_eq!(server.connect().get("/").response().text(), "/ ");
    let mut client = server.connect();
    client.get("/panic");
    assert!(server.failed().to_string().contains("an app thread has panicked"));
    assert!(!matches!(client.end(), End::Closed(rest) if !rest.is_empty()));
}

#[test]
fn a_slow_body_stays_while_a_sibling_has_room() {
    let board = Board::new(2).unwrap();
    let (one, other) = Setup::pair(&board, |setup| {
        setup.options(|options| options.worker_connections = 1).start_pool(1, echo)
    });
    let mut drips = [one.connect(), one.connect()];
    for (number, drip) in drips.iter_mut().enumerate() {
        drip.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx");
        one.wait_until("it is taken", || {
            one.slot.read().connections + other.slot.read().connections > number as u32
        });
        // Long enough for it to make room, if it were asked to.
        one.turns.time(60);
    }
    assert!(drips.iter_mut().all(|drip| !drip.hears_within(Duration::from_millis(1))));
    assert_eq!(one.connect().get("/").response().text(), "/ ");
    let gone = drips.iter_mut().map(|drip| drip.hears_within(Duration::from_millis(1)));
    assert_eq!(gone.filter(|gone| *gone).count(), 1);
    drop(drips);
    one.stop();
    other.stop();
}

#[test]
fn connections_go_to_a_sibling_that_has_a_free_thread() {
    let board = Board::new(2).unwrap();
    let (door, calls) = (Door::shut(), Arc::default());
    let (busy, other) = Setup::pair(&board, |setup| setup.start_pool(1, doorkeeper(&door, &calls)));
    let mut held = busy.connect();
    held.get("/wait");
    busy.wait_until("one of them is busy", || busy.slot.is_busy() || other.slot.is_busy());
    // Whichever it is, the other serves all that comes while it has a free thread, which each has
    // looked for.
    for _ in 0..10 {
        busy.wait_until("one is free", || !(busy.slot.is_busy() && other.slot.is_busy()));
        busy.turns.time(3);
        other.turns.time(3);
        assert_eq!(busy.connect().get("/").response().text(), "/ ");
    }
    let mut second = busy.connect();
    second.get("/wait");
    busy.wait_until("both are busy", || busy.slot.is_busy() && other.slot.is_busy());
    let mut third = busy.connect();
    third.get("/");
    door.open();
    for client in [&mut held, &mut second, &mut third] {
        assert_eq!(client.response().status, 200);
    }
    drop((held, second, third));
    busy.stop();
    other.stop();
}

/// The kernel's queue is its successor's too; what it accepted would be lost with it.
#[test]
fn a_worker_that_cannot_run_anything_accepts_nothing_even_if_it_is_the_only_one() {
    let board = Board::new(2).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, &BindOptions::default()).unwrap();
    let setup = Setup::new().sharing(&board, 1, &listener);
    let interpreter = setup.interpreter.clone();
    let server = setup.start_pool(2, echo);
    let mut first = server.connect();
    assert_eq!(first.get("/").response().text(), "/ ");
    server.wait_until("it can run something", || board.slot(2).has_free_sibling());
    interpreter.shuts();
    first.get("/first");
    server.wait_until("it sees that it can't", || !board.slot(2).has_free_sibling());
    // More than there are threads: it is seen all the same.
    let mut others = [(); 4].map(|()| {
        let mut other = server.connect();
        other.get("/other");
        other
    });
    server.turns.time(5);
    assert_eq!(server.slot.read().connections, 1);
    interpreter.open();
    assert_eq!(first.response().text(), "/first ");
    for other in &mut others {
        assert_eq!(other.response().text(), "/other ");
    }
    drop((first, others));
    server.stop();
}

#[test]
fn who_waits_too_long_for_the_interpreter_is_turned_away() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let setup =
        Setup::new().options(|options| options.queue_timeout = Some(Duration::from_millis(100)));
    let interpreter = setup.interpreter.clone();
    let server = setup.start_pool(2, move |asked, exchange| {
        counted.fetch_add(1, Ordering::SeqCst);
        echo(asked, exchange)
    });
    let mut client = server.connect();
    assert_eq!(client.get("/").response().status, 200);
    interpreter.shuts();
    assert_eq!(client.get("/waits").response().status, 503);
    interpreter.open();
    assert_eq!(client.get("/").response().status, 200);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    drop(client);
    server.stop();
}
