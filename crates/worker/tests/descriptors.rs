//! Descriptors: none is leaked, and a worker that has none left waits for one.
//!
//! Alone in its program, as descriptors and their limit are the process's.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

/// The loop runs the app.
#[allow(dead_code, reason = "for the harness")]
const THREADS: usize = 0;

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "serve/harness.rs"]
mod harness;

use std::fs::{self, File};
use std::time::Duration;

use ironhorn_unix::ToWorker;
use ironhorn_worker::{Left, Reply};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use client::Client;
use harness::{Closes, Setup, echo, head, ok};

#[test]
fn descriptors() {
    none_is_leaked();
    a_worker_without_descriptors_waits_for_one();
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn none_is_leaked() {
    let before = open_files();
    let closes = Closes::default();
    let server = Setup::new()
        .options(|options| options.header_timeout = Some(Duration::from_millis(50)))
        .start(move |asked, exchange| match asked.target.as_str() {
            "/large" => ok(exchange, vec![b'x'; 16 << 20]),
            "/endless" => {
                head(exchange, "200 OK", &[]);
                let rest = closes.made(|_| Ok(Some(vec![b'x'; 1 << 20])));
                Reply::Stream { first: Some(b"x".to_vec()), rest }
            }
            "/file" => {
                head(exchange, "200 OK", &[]);
                let file = File::open("/dev/zero").unwrap();
                Reply::File { file: file.into(), offset: 0, length: 5, rest: closes.of([]) }
            }
            "/fails" => Reply::Failed,
            _ => echo(asked, exchange),
        });
    let large = 2 << 20;
    let announced = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {large}\r\n\r\n");
    for _ in 0..20 {
        let each: [&dyn Fn(&mut Client); 9] = [
            &|_| {},
            &|client| _ = client.get("/").response(),
            &|client| _ = client.get("/file").response(),
            &|client| _ = client.get("/fails").response(),
            &|client| _ = client.get("/large").exactly(1),
            &|client| _ = client.get("/endless").exactly(1),
            &|client| _ = client.send(&announced).send(vec![b'x'; large]).response(),
            &|client| _ = client.send(&announced).send(vec![b'x'; large - 1]),
            &|client| _ = client.send("nonsense\r\n\r\n").response(),
        ];
        for each in each {
            each(&mut server.connect());
        }
        // One that the server closes.
        assert_eq!(server.connect().send("GET /").response().status, 408);
    }
    server.stop();
    assert_eq!(open_files(), before);
}

fn a_worker_without_descriptors_waits_for_one() {
    let server = Setup::new().start(echo);
    let mut first = server.connect();
    assert_eq!(first.get("/first").response().text(), "/first ");

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
    let mut fill = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        fill.push(file);
    }
    // One descriptor for the client, none for the worker.
    fill.pop();
    let mut second = server.connect();
    second.get("/second");
    assert!(!second.hears_within(Duration::from_millis(100)));
    // It goes on with what it has, and doesn't spin.
    assert_eq!(first.get("/first").response().text(), "/first ");
    assert!((0..3).any(|_| server.turns.time(6) >= Duration::from_millis(80)), "the loop spins");
    // As soon as there is one again:
    fill.pop();
    assert_eq!(second.response().text(), "/second ");

    // A worker that stops takes what is queued as its connections end.
    fill.pop();
    let mut third = server.connect();
    third.get("/third");
    assert!(!third.hears_within(Duration::from_millis(100)));
    server.tell(ToWorker::Stop);
    assert_eq!(third.response().text(), "/third ");
    first.is_closed();
    second.is_closed();
    drop(third);
    assert_eq!(server.left(), Left::Drained);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    drop(fill);
}
