//! Lines of the access log.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironhorn_worker::{Chunks, Reply};

use crate::harness::{Closes, Setup, echo, head};

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
