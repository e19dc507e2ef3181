//! Responses that the kernel sends from a file.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use ironhorn_worker::Reply;

use crate::client::End;
use crate::harness::{Answer, Asked, Closes, Server, Setup, echo, head};

const SIZE: usize = 20 << 20;

fn content() -> impl Iterator<Item = u8> {
    (0..=250).cycle().take(SIZE)
}

/// Serves `/OFFSET/LENGTH` of a file, or `/OFFSET/LENGTH/ANNOUNCED`.
fn serve(
    closes: &Closes,
) -> impl FnMut(&Asked, &mut dyn ironhorn_worker::Exchange) -> Answer + Send + use<> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content().collect::<Vec<u8>>()).unwrap();
    let closes = closes.clone();
    move |asked, exchange| {
        let mut numbers = asked.target.split('/').skip(1).map(|number| number.parse().unwrap());
        let offset = numbers.next().unwrap();
        let length = numbers.next().unwrap();
        head(exchange, "200 OK", &[]);
        if let Some(announced) = numbers.next() {
            let announced: u64 = announced;
            let value = announced.to_string();
            exchange.head().push_field(b"Content-Length", value.as_bytes()).unwrap();
        }
        let file = file.try_clone().unwrap();
        Reply::File { file: file.into(), offset, length, rest: closes.of([]) }
    }
}

#[test]
fn a_file_arrives_whole_or_in_part() {
    let closes = Closes::default();
    let server = Server::start(serve(&closes));
    let mut client = server.connect();
    for (offset, length) in [(0, 10), (5, 0), (7, 8192), (0, SIZE), (SIZE - 3, 3)] {
        let response = client.get(&format!("/{offset}/{length}")).response();
        assert_eq!(response.field("Content-Length"), Some(length.to_string().as_str()));
        assert!(response.body.into_iter().eq(content().skip(offset).take(length)));
    }
    server.wait_until("close() is called", || closes.count() == 5);
    server.stop();
}

#[test]
fn nothing_waits_for_a_file_that_does_not_come() {
    // MSG_MORE without more would hold the head back for 200 ms.
    let closes = Closes::default();
    let server = Server::start(serve(&closes));
    let mut client = server.connect();
    let began = Instant::now();
    for _ in 0..10 {
        client.get("/0/0").response();
        client.send("HEAD /0/10 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").field("Content-Length"), Some("10"));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.wait_until("close() is called", || closes.count() == 20);
}

#[test]
fn a_file_keeps_to_the_announced_length() {
    let closes = Closes::default();
    let server = Server::start(serve(&closes));
    let mut client = server.connect();
    let body = client.get("/1/100/10").response().body;
    assert!(body.into_iter().eq(content().skip(1).take(10)));
    client.get("/1/10/100").head();
    assert_eq!(client.end(), End::Closed(content().skip(1).take(10).collect()));
    server.wait_until("close() is called", || closes.count() == 2);
}

#[test]
fn a_file_shorter_than_said_ends_the_connection() {
    let closes = Closes::default();
    let server = Server::start(serve(&closes));
    let mut client = server.connect();
    client.get(&format!("/{}/100", SIZE - 10)).head();
    assert_eq!(client.end(), End::Closed(content().skip(SIZE - 10).collect()));
    server.wait_until("close() is called", || closes.count() == 1);
}

#[test]
fn slow_readers_of_files_hold_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let closes = Closes::default();
        let mut file = serve(&closes);
        let server = setup.start(move |asked, exchange| match asked.target.as_str() {
            "/quick" => echo(asked, exchange),
            _ => file(asked, exchange),
        });
        let mut slow: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in &mut slow {
            client.get(&format!("/0/{SIZE}"));
        }
        assert_eq!(server.connect().get("/quick").response().text(), "/quick ");
        let left = slow.pop();
        for mut client in slow {
            assert!(client.response().body.into_iter().eq(content()));
        }
        drop(left);
        server.wait_until("close() is called", || closes.count() == 3);
    }
}

#[test]
fn what_sendfile_does_not_take_is_read() {
    // The memory of a process can be read but not spliced.
    let closes = Closes::default();
    let text: &'static [u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
    let offset = text.as_ptr().addr() as u64;
    let counted = closes.clone();
    let server = Server::start(move |asked, exchange| {
        head(exchange, "200 OK", &[]);
        let file = File::open("/proc/self/mem").unwrap();
        // Nothing is mapped at the start.
        let offset = if asked.target == "/nothing" { 0 } else { offset };
        Reply::File { file: file.into(), offset, length: 26, rest: counted.of([]) }
    });
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/").response().body, text);
    }
    client.get("/nothing").head();
    client.is_closed();
    server.wait_until("close() is called", || closes.count() == 3);
}
