//! Workers that leave.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use ironhorn_unix::{Received, State, ToMaster, ToWorker};
use ironhorn_worker::{Left, Reply};

use crate::client::End;
use crate::harness::{Closes, Server, Setup, echo, head, meeting, ok};

#[track_caller]
fn wait_for_draining(server: &Server) {
    server.wait_until("the worker is draining", || {
        server.master().receive().unwrap() == Received::Message(ToMaster::Draining)
    });
    assert_eq!(server.slot.read().state, State::Draining);
}

#[test]
fn a_worker_with_nothing_to_do_leaves_at_once() {
    for order in [ToWorker::Stop, ToWorker::Retire] {
        let server = Server::start(echo);
        let began = Instant::now();
        server.tell(order);
        assert_eq!(server.left(), Left::Drained);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_retiring_worker_answers_one_more_request_of_an_idle_connection() {
    let server = Server::start(echo);
    let mut client = server.connect();
    assert_eq!(client.get("/a").response().field("Connection"), None);
    let fresh = server.connect();
    server.wait_for_connections(2);
    server.tell(ToWorker::Retire);
    wait_for_draining(&server);
    if crate::THREADS != 0 {
        server.turns.time(2);
    }
    // None is accepted any more.
    let refused = server.try_connect();
    assert!(refused.is_err());
    let mut fresh = fresh;
    for client in [&mut client, &mut fresh] {
        assert!(server.is_running());
        let response = client.get("/b").response();
        assert_eq!((response.field("Connection"), response.text()), (Some("close"), "/b "));
        client.is_closed();
    }
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_worker_that_was_asked_to_leave_says_so_at_once() {
    let (meets, app) = meeting();
    let server = Server::start(app);
    let mut client = server.hold();
    // The order is in the channel, which the loop doesn't see while the app runs.
    server.slot.ask_to_leave();
    server.tell(ToWorker::Retire);
    meets.send(()).unwrap();
    assert_eq!(client.response().field("Connection"), Some("close"));
    client.is_closed();
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_retiring_worker_takes_the_connection_that_may_have_woken_it() {
    let (meets, app) = meeting();
    let server = Server::start(app);
    let busy = server.hold();
    let mut queued = server.connect();
    queued.get("/queued");
    server.tell(ToWorker::Retire);
    meets.send(()).unwrap();
    assert_eq!(queued.response().text(), "/queued ");
    drop((queued, busy));
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_retiring_worker_leaves_the_connection_that_came_after_the_order() {
    if crate::THREADS != 0 {
        return; // It is for a loop that stands still while the app runs.
    }
    let (meets, app) = meeting();
    let server = Server::start(app);
    let mut busy = server.connect();
    // It is accepted and the queue was found empty: the next is news.
    busy.get("/").response();
    busy.get("/meeting");
    server.wait_until("the app is called", || server.request() == "GET /meeting");
    server.tell(ToWorker::Retire);
    let mut late = server.connect();
    late.get("/late");
    meets.send(()).unwrap();
    assert_eq!(busy.response().text(), "/meeting ");
    // There is no sibling here, and so nobody's queue.
    assert!(matches!(late.end(), End::Closed(rest) | End::Reset(rest) if rest.is_empty()));
    drop(busy);
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_retiring_worker_does_not_wait_for_ever() {
    let short = Duration::from_millis(100);
    let server = Setup::new().options(|options| options.keepalive = short).start(echo);
    let mut client = server.connect();
    client.get("/a").response();
    server.tell(ToWorker::Retire);
    client.is_closed();
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_leaving_worker_answers_all_that_was_pipelined() {
    for order in [ToWorker::Stop, ToWorker::Retire] {
        let (meets, app) = meeting();
        let server = Server::start(app);
        let mut client = server.connect();
        client.send(
            "GET /meeting HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()
                + &"GET /next HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40),
        );
        server.wait_until("the app is called", || server.request() == "GET /meeting");
        server.tell(order);
        meets.send(()).unwrap();
        assert_eq!(client.response().text(), "/meeting ");
        for left in (0..40).rev() {
            let response = client.response();
            assert_eq!(response.text(), "/next ");
            assert_eq!(response.field("Connection"), (left == 0).then_some("close"));
        }
        client.is_closed();
        assert_eq!(server.left(), Left::Drained);
    }
}

#[test]
fn a_stopping_worker_takes_what_the_kernel_has_queued() {
    if crate::THREADS != 0 {
        return; // It is for a loop that stands still while the app runs.
    }
    let (meets, app) = meeting();
    let server = Server::start(app);
    let mut idle = server.connect();
    idle.get("/").response();
    let mut busy = server.hold();
    // More than one turn takes.
    let mut queued: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for client in &mut queued {
        client.get("/queued");
    }
    let silent = server.connect();
    server.tell(ToWorker::Stop);
    meets.send(()).unwrap();
    assert_eq!(busy.response().text(), "/meeting ");
    for client in &mut queued {
        let response = client.response();
        assert_eq!((response.field("Connection"), response.text()), (Some("close"), "/queued "));
        client.is_closed();
    }
    idle.is_closed();
    // It has a second for its request.
    let mut silent = silent;
    silent.is_closed();
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn a_connection_accepted_last_has_a_moment_for_its_request() {
    let server = Server::start(echo);
    let mut early = server.connect();
    let mut late = server.connect();
    server.wait_for_connections(2);
    let began = Instant::now();
    server.tell(ToWorker::Stop);
    wait_for_draining(&server);
    early.get("/early");
    assert_eq!(early.response().text(), "/early ");
    early.is_closed();
    late.is_closed();
    assert_eq!(server.left(), Left::Drained);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn requests_under_way_are_finished() {
    for order in [ToWorker::Stop, ToWorker::Retire] {
        let (makes, made) = mpsc::channel::<Option<Vec<u8>>>();
        let mut made = Some(made);
        let closes = Closes::default();
        let counted = closes.clone();
        let server = Server::start(move |asked, exchange| match asked.target.as_str() {
            "/stream" => {
                head(exchange, "200 OK", &[]);
                let made = made.take().unwrap();
                // It blocks the worker, as an app does; large, so that the client does too.
                let rest = counted.made(move |_| Ok(made.recv().unwrap()));
                Reply::Stream { first: Some(vec![b'x'; 8 << 20]), rest }
            }
            _ => echo(asked, exchange),
        });
        let mut upload = server.connect();
        upload.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
        let mut header = server.connect();
        header.send("GET /head HTTP/1.1\r\n");
        let mut stream = server.connect();
        stream.get("/stream").head();
        server.wait_for_connections(3);
        server.tell(order);
        wait_for_draining(&server);
        upload.send("b");
        assert_eq!(upload.response().text(), "/up ab");
        upload.is_closed();
        header.send("Host: a\r\n\r\n");
        assert_eq!(header.response().text(), "/head ");
        header.is_closed();
        assert!(server.is_running());
        assert_eq!(stream.chunk().unwrap().len(), 8 << 20);
        makes.send(Some(b"y".to_vec())).unwrap();
        assert_eq!(stream.chunk().unwrap(), b"y");
        makes.send(None).unwrap();
        assert_eq!(stream.chunk(), None);
        if order == ToWorker::Retire {
            // Its head, sent before, doesn't speak of the end.
            assert_eq!(stream.get("/last").response().field("Connection"), Some("close"));
        }
        stream.is_closed();
        assert_eq!(server.left(), Left::Drained);
        assert_eq!(closes.count(), 1);
    }
}

#[test]
fn stop_outdoes_retire() {
    let server = Server::start(echo);
    let mut client = server.connect();
    client.get("/").response();
    server.tell(ToWorker::Retire);
    wait_for_draining(&server);
    server.tell(ToWorker::Stop);
    client.is_closed();
    assert_eq!(server.left(), Left::Drained);
}

#[test]
fn quitting_leaves_at_once_and_closes_what_is_open() {
    for dies in [false, true] {
        let closes = Closes::default();
        let counted = closes.clone();
        let mut server = Server::start(move |asked, exchange| match asked.target.as_str() {
            "/endless" => {
                head(exchange, "200 OK", &[]);
                let rest = counted.made(|_| Ok(Some(vec![b'x'; 1 << 20])));
                Reply::Stream { first: Some(b"x".to_vec()), rest }
            }
            _ => ok(exchange, "idle"),
        });
        let mut endless = server.connect();
        endless.get("/endless").exactly(1);
        let mut old = server.connect();
        old.send("GET /endless HTTP/1.0\r\n\r\n").exactly(1);
        let mut idle = server.connect();
        idle.get("/").response();
        if crate::THREADS != 0 {
            // The client has the response a moment before the loop has the connection.
            server.turns.time(2);
        }
        if dies {
            server.orphan();
            assert_eq!(server.left(), Left::Orphaned);
        } else {
            server.tell(ToWorker::Quit);
            assert_eq!(server.left(), Left::Quit);
        }
        idle.is_closed();
        // A body that ends with the connection mustn't look whole.
        assert!(matches!(old.end(), End::Reset(_)));
        assert!(matches!(endless.end(), End::Reset(_)));
        assert_eq!(closes.count(), 2);
    }
}
