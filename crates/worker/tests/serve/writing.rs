//! What an app may send while it is being called: PEP 3333's write(), and interim responses.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use ironhorn_worker::{Chunks, Gone, Reply};

use crate::client::End;
use crate::harness::{Closes, Server, Setup, head};

#[test]
fn writes_are_sent_at_once_and_before_the_rest() {
    let (meets, met) = mpsc::channel::<()>();
    let closes = Closes::default();
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        head(exchange, "200 OK", &[]);
        assert!(!exchange.head_sent());
        exchange.write(b"written").unwrap();
        assert!(exchange.head_sent());
        if asked.target == "/meet" {
            met.recv().unwrap();
        }
        exchange.write(b"").unwrap();
        exchange.write(b"again").unwrap();
        match asked.target.as_str() {
            "/stream" => Reply::Stream { first: Some(b"s".to_vec()), rest: counted.of([b"t"]) },
            "/ended" => Reply::Stream { first: None, rest: counted.of([]) },
            "/many" => Reply::Complete(Chunks::Many(vec![b"a".to_vec(), b"b".to_vec()])),
            "/one" => Reply::Complete(Chunks::One(b"a".to_vec())),
            "/file" => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(b"a file").unwrap();
                Reply::File { file: file.into(), offset: 2, length: 4, rest: counted.of([]) }
            }
            _ => Reply::Complete(Chunks::None),
        }
    });
    let mut client = server.connect();
    assert!(client.get("/meet").head().contains("Transfer-Encoding: chunked"));
    assert_eq!(client.chunk().unwrap(), b"written");
    meets.send(()).unwrap();
    assert_eq!(client.chunk().unwrap(), b"again");
    assert_eq!(client.chunk(), None);
    for (target, rest) in
        [("/stream", "st"), ("/ended", ""), ("/many", "ab"), ("/one", "a"), ("/file", "file")]
    {
        assert_eq!(client.get(target).response().text(), format!("writtenagain{rest}"));
    }
    // HEAD sees nothing of it.
    client.send("HEAD /one HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response_to("HEAD");
    assert_eq!(client.get("/none").response().text(), "writtenagain");
    server.stop();
    assert_eq!(closes.count(), 3);
}

#[test]
fn writes_keep_to_the_length() {
    let server = Server::start(|asked, exchange| {
        head(exchange, "200 OK", &[("Content-Length", "5")]);
        exchange.write(b"abc").unwrap();
        if asked.target == "/long" {
            exchange.write(b"defghi").unwrap();
        }
        Reply::Complete(Chunks::None)
    });
    let mut client = server.connect();
    assert_eq!(client.get("/long").response().text(), "abcde");
    client.get("/short").head();
    assert_eq!(client.end(), End::Closed(b"abc".to_vec()));
}

#[test]
fn a_file_shorter_than_said_after_write_can_be_told() {
    let server = Server::start(|_, exchange| {
        head(exchange, "200 OK", &[]);
        exchange.write(b"x").unwrap();
        let file = File::open("/dev/null").unwrap();
        Reply::File { file: file.into(), offset: 0, length: 4, rest: Closes::default().of([]) }
    });
    let mut client = server.connect();
    client.get("/").head();
    assert_eq!(client.end(), End::Closed(b"1\r\nx\r\n4\r\n".to_vec()));
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(client.end(), End::Reset(_)));
}

#[test]
fn an_app_that_writes_waits_for_a_slow_client() {
    const PIECES: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let (tells, told) = mpsc::channel();
    let server = Setup::new().unix(directory.path()).start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        for piece in 0..PIECES {
            exchange.write(&vec![piece as u8; 100_000]).unwrap();
            tells.send(piece).unwrap();
        }
        Reply::Complete(Chunks::None)
    });
    let mut client = server.connect();
    client.get("/").head();
    for piece in 0..PIECES {
        assert_eq!(client.chunk().unwrap(), vec![piece as u8; 100_000]);
        // It is ahead by no more than a megabyte and what the kernel holds.
        let ahead = told.try_iter().last().unwrap_or(piece);
        assert!(ahead < piece + 40, "{ahead} pieces ahead of {piece}");
    }
    assert_eq!(client.chunk(), None);
}

#[test]
fn a_write_to_a_client_that_takes_nothing_ends_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let (tells, told) = mpsc::channel();
    let server = Setup::new()
        .unix(directory.path())
        .options(|options| options.write_timeout = Some(Duration::from_millis(50)))
        .start(move |_, exchange| {
            head(exchange, "200 OK", &[]);
            while exchange.write(&[b'x'; 100_000]).is_ok() {}
            tells.send(exchange.write(b"more")).unwrap();
            Reply::Failed
        });
    let mut client = server.connect();
    client.get("/");
    assert_eq!(told.recv_timeout(crate::harness::PATIENCE).unwrap(), Err(Gone));
    server.wait_for_connections(0);
    assert!(matches!(client.end(), End::Closed(got) if !got.ends_with(b"0\r\n\r\n")));
}

#[test]
fn a_write_to_a_client_that_has_gone_fails() {
    let (tells, told) = mpsc::channel();
    let server = Server::start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        while exchange.write(b"more").is_ok() {}
        tells.send(()).unwrap();
        Reply::Failed
    });
    let mut client = server.connect();
    client.get("/").exactly(100);
    drop(client);
    told.recv_timeout(crate::harness::PATIENCE).unwrap();
    server.wait_for_connections(0);
}

#[test]
fn a_failure_after_write_can_be_told() {
    let server = Server::start(|_, exchange| {
        head(exchange, "200 OK", &[]);
        exchange.write(b"some").unwrap();
        Reply::Failed
    });
    let mut client = server.connect();
    client.get("/").head();
    assert_eq!(client.end(), End::Closed(b"4\r\nsome\r\n".to_vec()));
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(client.end(), End::Reset(_)));
}

#[test]
fn a_stream_may_write_too() {
    let closes = Closes::default();
    let server = Server::start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        let mut chunks = [Some(b"chunk".to_vec()), None].into_iter();
        let rest = closes.made(move |exchange| {
            exchange.write(b"written").unwrap();
            Ok(chunks.next().unwrap())
        });
        Reply::Stream { first: Some(b"first".to_vec()), rest }
    });
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/").response().text(), "firstwrittenchunkwritten");
    }
}

#[test]
fn interim_responses_precede_the_response() {
    let server = Server::start(|_, exchange| {
        let hints = [(b"Link".to_vec(), b"</style.css>; rel=preload".to_vec())];
        exchange.interim(103, &hints).unwrap();
        exchange.interim(103, &[(b"bad name".to_vec(), b"x".to_vec())]).unwrap();
        head(exchange, "200 OK", &[]);
        exchange.write(b"body").unwrap();
        exchange.interim(103, &hints).unwrap();
        Reply::Complete(Chunks::None)
    });
    let mut client = server.connect();
    for _ in 0..2 {
        client.get("/");
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload");
        assert_eq!(client.response().text(), "body");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "body");
}
