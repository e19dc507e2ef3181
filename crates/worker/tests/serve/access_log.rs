//! Lines of the access log.

use std::fs;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironhorn_worker::{Chunks, Reply};

use crate::client::End;
use crate::harness::{Closes, Setup, echo, head, ok};

#[test]
fn each_response_has_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let format = r#"%(h)s "%(r)s" %(s)s %(B)s %({x-id}i)s %({x-answer}o)s %({user}e)s"#;
    let closes = Closes::default();
    let server = Setup::new()
        .access_log(format, &path)
        .options(|options| {
            options.limits.body = Some(100);
            options.header_timeout = Some(Duration::from_millis(100));
            options.body_timeout = Some(Duration::from_millis(100));
        })
        .start(move |asked, exchange| {
            assert_eq!(exchange.environ_atoms(), ["user"]);
            exchange.set_environ_atom(0, b"bob".to_vec());
            match asked.target.as_str() {
                "/fails" => return Reply::Failed,
                "/cut" => {
                    head(exchange, "200 OK", &[]);
                    exchange.write(b"abc").unwrap();
                    return Reply::Failed;
                }
                "/short" => {
                    head(exchange, "200 OK", &[("Content-Length", "9")]);
                    return Reply::Complete(Chunks::One(b"abcd".to_vec()));
                }
                "/endless" => {
                    head(exchange, "200 OK", &[("X-Answer", "42")]);
                    let mut count = 0;
                    let rest = closes.made(move |_| {
                        count += 1;
                        assert!(count < 1_000_000);
                        Ok(Some(vec![b'x'; 1000]))
                    });
                    return Reply::Stream { first: Some(b"x".to_vec()), rest };
                }
                _ => {}
            }
            head(exchange, "201 Created", &[("X-Answer", "42")]);
            Reply::Complete(Chunks::Many(vec![b"a".to_vec(), b"bc".to_vec()]))
        });
    let lines = || fs::read_to_string(&path).unwrap();
    let await_line = |count: usize, line: &str| {
        server.wait_until(line, || lines().lines().count() >= count);
        assert_eq!(lines().lines().nth(count - 1), Some(line));
    };

    let mut client = server.connect();
    client.send("GET /a?b HTTP/1.1\r\nHost: a\r\nX-Id: 7\"\r\n\r\n").response();
    await_line(1, r#"127.0.0.1 "GET /a?b HTTP/1.1" 201 3 7\" 42 bob"#);
    client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
    await_line(2, r#"127.0.0.1 "HEAD /a HTTP/1.1" 201 0 - 42 bob"#);
    client.get("/fails").response();
    await_line(3, r#"127.0.0.1 "GET /fails HTTP/1.1" 500 22 - - bob"#);

    server.connect().get("/cut").end();
    await_line(4, r#"127.0.0.1 "GET /cut HTTP/1.1" 200 3 - - bob"#);
    server.connect().get("/short").end();
    await_line(5, r#"127.0.0.1 "GET /short HTTP/1.1" 200 4 - - bob"#);

    let refused = server.connect().send("GET /x\u{1} HTTP/1.1\r\n\r\n").response();
    let size = refused.body.len();
    await_line(6, &format!(r#"127.0.0.1 "GET /x\x01 HTTP/1.1" 400 {size} - - -"#));
    let head = "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    let size = server.connect().send(format!("{head}101\r\n\r\n")).response().body.len();
    await_line(7, &format!(r#"127.0.0.1 "POST /big HTTP/1.1" 413 {size} - - -"#));
    let size = server.connect().send("GET /slo").response().body.len();
    await_line(8, &format!(r#"127.0.0.1 "GET /slo" 408 {size} - - -"#));
    let size = server.connect().send(format!("{head}9\r\n\r\nabc")).response().body.len();
    await_line(9, &format!(r#"127.0.0.1 "POST /big HTTP/1.1" 408 {size} - - -"#));

    let mut client = server.connect();
    client.get("/endless").exactly(1000);
    drop(client);
    server.wait_until("the tenth line", || lines().lines().count() == 10);
    let line = lines().lines().last().unwrap().to_owned();
    let line = line.strip_prefix(r#"127.0.0.1 "GET /endless HTTP/1.1" 200 "#).unwrap();
    assert!(line.ends_with(" - 42 bob"), "{line}");
}

/// What bodies are made of here, and heads and framing are not.
const CONTENT: u8 = 0xff;

/// How many bytes of bodies have come, whatever else has, to a client that wasn't waited for.
fn received(end: End) -> usize {
    let (End::Closed(bytes) | End::Reset(bytes)) = end;
    bytes.into_iter().filter(|&byte| byte == CONTENT).count()
}

/// A client that reads nothing is given up. On a unix socket it still has all that the kernel took.
#[test]
fn what_the_socket_has_not_taken_is_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let closes = Closes::default();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![CONTENT; 8 << 20]).unwrap();
    let server = Setup::new()
        .unix(directory.path())
        .access_log("%(U)s %(s)s %(B)s", &path)
        .options(|options| options.write_timeout = Some(Duration::from_millis(100)))
        .start(move |asked, exchange| {
            head(exchange, "200 OK", &[]);
            let large = vec![CONTENT; 8 << 20];
            match asked.target.as_str() {
                "/many" => Reply::Complete(Chunks::Many(vec![vec![CONTENT; 50_000]; 100])),
                "/stream" => {
                    let rest = closes.made(|_| Ok(Some(vec![CONTENT; 50_000])));
                    Reply::Stream { first: Some(vec![CONTENT]), rest }
                }
                "/written" => {
                    while exchange.write(&large[..50_000]).is_ok() {}
                    Reply::Failed
                }
                "/file" => {
                    let (file, length) = (file.try_clone().unwrap().into(), 8 << 20);
                    Reply::File { file, offset: 0, length, rest: closes.of([]) }
                }
                _ => Reply::Complete(Chunks::One(large)),
            }
        });
    for (count, target) in ["/one", "/many", "/stream", "/written", "/file"].into_iter().enumerate()
    {
        let lines = || fs::read_to_string(&path).unwrap();
        let mut client = server.connect();
        client.get(target);
        server.wait_until("the line", || lines().lines().count() == count + 1);
        let taken = received(client.end());
        assert!(taken > 0, "{target}");
        assert_eq!(lines().lines().last(), Some(&*format!("{target} 200 {taken}")));
    }
}

/// Small bodies are sent with their heads.
#[test]
fn a_small_body_that_the_socket_has_not_taken_is_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = Setup::new()
        .unix(directory.path())
        .access_log("%(B)s", &path)
        .options(|options| options.write_timeout = Some(Duration::from_millis(100)))
        .start(|_, exchange| ok(exchange, vec![CONTENT; 8000]));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
    // Nobody waits for the connection to be gone: it isn't counted before its first turn is over.
    server.wait_until("the client is given up", || {
        fs::read_to_string(&path).unwrap().lines().any(|bytes| bytes != "8000")
    });
    let taken = received(client.end());
    let lines = fs::read_to_string(&path).unwrap();
    let logged: usize = lines.lines().map(|bytes| bytes.parse::<usize>().unwrap()).sum();
    assert_eq!(logged, taken);
    assert!(lines.lines().last().unwrap() < "8000");
}

#[test]
fn a_unix_client_has_no_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server =
        Setup::new().unix(directory.path()).access_log("%(h)s %(m)s %(U)s", &path).start(echo);
    let mut client = server.connect();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
    (0..20).for_each(|_| drop(client.response()));
    server.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "- GET /a\n".repeat(20));
}

#[test]
fn the_file_is_opened_anew_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("access.log"), directory.path().join("old.log"));
    let server = Setup::new().access_log("%(U)s", &path).start(echo);
    let mut client = server.connect();
    client.get("/before").response();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    server.wait_until("the first line", || read(&path) == "/before\n");
    fs::rename(&path, &old).unwrap();
    server.tell(ironhorn_unix::ToWorker::ReopenLogs);
    server.wait_until("there is a new file", || path.exists());
    assert_eq!(server.reopens.load(Ordering::SeqCst), 1);
    client.get("/after").response();
    server.wait_until("the second line", || read(&path) == "/after\n");
    assert_eq!(read(&old), "/before\n");
}
