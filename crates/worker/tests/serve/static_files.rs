//! Static files, which the loop sends by itself.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ironhorn_worker::{StaticFiles, StaticOptions};

use crate::client::End;
use crate::harness::{Server, Setup, echo, meeting};

/// More than the buffers of a connection hold.
const SIZE: usize = 20 << 20;
/// Up to this size a file is read.
const READ: usize = 8 << 10;

fn content(size: usize) -> impl Iterator<Item = u8> {
    (0..=250).cycle().take(size)
}

fn write(path: &Path, size: usize) {
    fs::write(path, content(size).collect::<Vec<u8>>()).unwrap();
}

/// A server of the files in `directory`, at /files.
fn setup(directory: &Path, change: impl FnOnce(&mut StaticOptions)) -> Setup {
    let mut options = StaticOptions {
        maps: vec![("/files".to_owned(), directory.to_owned())],
        ..StaticOptions::default()
    };
    change(&mut options);
    let files = StaticFiles::open(&options).unwrap().map(Arc::new);
    Setup::new().options(|options| options.static_files = files)
}

fn start(directory: &Path) -> Server {
    setup(directory, |_| ()).start(|asked, exchange| {
        assert!(!asked.target.starts_with("/files"), "{asked:?}");
        echo(asked, exchange)
    })
}

#[test]
fn files_of_every_size_arrive_whole() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = server.connect();
    for size in [0, 1, 4096, READ - 1, READ, READ + 1, 1 << 20, SIZE] {
        write(&directory.path().join("file"), size);
        let response = client.get("/files/file").response();
        assert_eq!(response.field("Content-Length"), Some(size.to_string().as_str()));
        assert!(response.body.into_iter().eq(content(size)), "{size}");
        client.send("HEAD /files/file HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
        if size > 2 {
            let range = format!("Range: bytes=1-{}", size - 2);
            client.send(format!("GET /files/file HTTP/1.1\r\nHost: a\r\n{range}\r\n\r\n"));
            assert!(client.response().body.into_iter().eq(content(size - 1).skip(1)), "{size}");
        }
    }
    assert_eq!(client.get("/other").response().text(), "/other ");
}

#[test]
fn they_are_no_requests_of_the_apps() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("big"), SIZE);
    let server = start(directory.path());
    let mut slow = server.connect();
    slow.get("/files/big").head();
    // While it waits for its client, and with each part that the client takes.
    for _ in 0..4 {
        slow.exactly(SIZE / 4);
        let seen = server.slot.read();
        assert_eq!((seen.requests, seen.running.len()), (0, 0));
    }
    assert_eq!(slow.get("/files/none").response().status, 404);
    server.turns.time(2);
    assert_eq!((server.slot.read().requests, server.slot.read().running.len()), (0, 0));
    slow.get("/").response();
    server.wait_until("the app's request is counted", || server.slot.read().requests == 1);
}

#[test]
fn a_file_that_shrinks_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big");
    write(&path, SIZE);
    let server = start(directory.path());
    let mut client = server.connect();
    client.get("/files/big").head();
    client.exactly(1000);
    File::options().write(true).open(&path).unwrap().set_len(2000).unwrap();
    let rest = match client.end() {
        End::Closed(rest) => rest,
        other => panic!("{other:?}"),
    };
    assert!(rest.len() < SIZE - 1000);
    assert_eq!(server.connect().get("/").response().text(), "/ ");
}

#[test]
fn the_app_gets_what_is_not_there_with_its_body() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("file"), 10);
    let server = setup(directory.path(), |options| options.fallthrough = true).start(echo);
    let mut client = server.connect();
    assert_eq!(client.get("/files/file").response().body.len(), 10);
    assert_eq!(client.get("/files/none").response().text(), "/files/none ");
    client.send("POST /files/file HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "/files/file abc");
    // A body that nobody reads.
    client.send("GET /files/file HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().body.len(), 10);
}

#[test]
fn a_body_that_nobody_wants_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("file"), 10);
    write(&directory.path().join("big"), SIZE);
    let server = start(directory.path());
    let lengths = ["Content-Length: 3000000", "Transfer-Encoding: chunked"];
    for length in lengths {
        for more in ["", "Expect: 100-continue\r\n", "Connection: close\r\n"] {
            let mut client = server.connect();
            let asks = |method, name| {
                format!("{method} /files/{name} HTTP/1.1\r\nHost: a\r\n{length}\r\n{more}\r\n")
            };
            let response = client.send(asks("POST", "file")).response();
            assert_eq!((response.status, response.field("Connection")), (405, Some("close")));
            client.is_closed();
            let mut client = server.connect();
            assert_eq!(client.send(asks("GET", "file")).response().body.len(), 10);
            client.is_closed();
            let mut client = server.connect();
            assert_eq!(client.send(asks("GET", "big")).response().body.len(), SIZE);
            client.is_closed();
        }
    }
    // What comes of it isn't taken for a request.
    let mut client = server.connect();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send("POST /files/file HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n");
    assert_eq!(client.response().status, 405);
    client.send(smuggled).is_closed();
    let mut client = server.connect();
    client.send(format!(
        "POST /files/file HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n{smuggled}"
    ));
    assert_eq!(client.response().status, 405);
    client.is_closed();
    server.wait_for_connections(0);
    assert_eq!(server.slot.read().requests, 0);
}

#[test]
fn a_body_for_the_app_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("file"), 10);
    let server = setup(directory.path(), |options| options.fallthrough = true).start(echo);
    let mut client = server.connect();
    client.send(
        "POST /files/file HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head(), "HTTP/1.1 100 Continue");
    assert_eq!(client.send("abc").response().text(), "/files/file abc");
    assert_eq!(client.get("/files/file").response().body.len(), 10);
}

#[test]
fn a_worker_that_is_asked_to_leave_finishes_them() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("big"), SIZE);
    let (meets, mut app) = meeting();
    let server = setup(directory.path(), |_| ()).start(move |asked, exchange| app(asked, exchange));
    let mut client = server.connect();
    client.get("/files/big").head();
    server.tell(ironhorn_unix::ToWorker::Stop);
    assert!(client.exactly(SIZE).into_iter().eq(content(SIZE)));
    drop(meets);
    client.is_closed();
}

#[test]
fn what_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let maps = vec![(String::new(), path.to_owned())];
        StaticFiles::open(&StaticOptions { maps, ..StaticOptions::default() })
    };
    assert!(open(directory.path()).unwrap().is_some());
    assert!(StaticFiles::open(&StaticOptions::default()).unwrap().is_none());
    let missing = directory.path().join("missing");
    let error = open(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot serve / from {}: ", missing.display())), "{error}");
}
