//! Responses that are known as a whole.

use ironhorn_worker::{Chunks, Reply};

use crate::client::End;
use crate::harness::{Server, Setup, echo, head, ok};

#[test]
fn a_head_has_no_body_behind_it() {
    let server = Server::start(|asked, exchange| match asked.target.as_str() {
        "/204" => {
            head(exchange, "204 No Content", &[]);
            Reply::Complete(Chunks::One(b"not to be seen".to_vec()))
        }
        "/304" => {
            head(exchange, "304 Not Modified", &[("ETag", "\"x\"")]);
            Reply::Complete(Chunks::Many(vec![b"not".to_vec(), b"seen".to_vec()]))
        }
        _ => ok(exchange, "five!"),
    });
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!(response.field("Content-Length"), Some("5"));
    assert_eq!(client.get("/204").response().field("Content-Length"), None);
    assert_eq!(client.get("/304").response().status, 304);
    // Had anything come behind the heads, this would be garbage.
    assert_eq!(client.get("/").response().text(), "five!");
}

#[test]
fn many_chunks_are_one_body() {
    let server = Server::start(|asked, exchange| {
        head(exchange, "200 OK", &[]);
        Reply::Complete(match asked.target.as_str() {
            "/none" => Chunks::None,
            "/many" => Chunks::Many((0..1000).map(|n| format!("{n},").into_bytes()).collect()),
            _ => Chunks::Many(vec![vec![b'a'; 5 << 20], Vec::new(), vec![b'b'; 5 << 20]]),
        })
    });
    let mut client = server.connect();
    let many: String = (0..1000).map(|n| format!("{n},")).collect();
    assert_eq!(client.get("/many").response().text(), many);
    let response = client.get("/none").response();
    assert_eq!((response.field("Content-Length"), response.body.len()), (Some("0"), 0));
    let large = client.get("/large").response().body;
    assert_eq!(large.len(), 10 << 20);
    assert!(large[..5 << 20].iter().all(|&byte| byte == b'a'));
    assert!(large[5 << 20..].iter().all(|&byte| byte == b'b'));
}

#[test]
fn every_size_around_the_coalescing_limit_arrives_whole() {
    let server = Server::start(|asked, exchange| {
        let size = asked.target[1..].parse().unwrap();
        ok(exchange, (0..=255).cycle().take(size).collect::<Vec<u8>>())
    });
    let mut client = server.connect();
    for size in [0, 1, 8191, 8192, 8193, 65_536, 300_000] {
        let body = client.get(&format!("/{size}")).response().body;
        assert_eq!(body, (0..=255).cycle().take(size).collect::<Vec<u8>>());
    }
}

#[test]
fn a_slow_reader_gets_all_and_holds_nobody_up() {
    const SIZE: usize = 24 << 20;
    let directory = tempfile::tempdir().unwrap();
    for setup in [Setup::new(), Setup::new().unix(directory.path())] {
        let server = setup.start(|asked, exchange| match asked.target.as_str() {
            "/large" => ok(exchange, (0..=250).cycle().take(SIZE).collect::<Vec<u8>>()),
            _ => echo(asked, exchange),
        });
        let mut slow: Vec<_> = (0..3).map(|_| server.connect()).collect();
        slow.iter_mut().for_each(|client| drop(client.get("/large").head()));
        let mut quick = server.connect();
        const PART: usize = 1 << 20;
        for client in &mut slow {
            assert!(client.exactly(PART).into_iter().eq((0..=250).cycle().take(PART)));
            assert_eq!(quick.get("/quick").response().text(), "/quick ");
        }
        for mut client in slow {
            let rest = client.exactly(SIZE - PART);
            assert!(rest.into_iter().eq((0..=250).cycle().skip(PART).take(SIZE - PART)));
            assert_eq!(client.get("/next").response().text(), "/next ");
        }
    }
}

#[test]
fn a_body_beyond_its_length_is_cut_to_it() {
    let server = Server::start(|_, exchange| {
        head(exchange, "200 OK", &[("Content-Length", "3")]);
        Reply::Complete(Chunks::Many(vec![b"ab".to_vec(), b"cd".to_vec(), b"ef".to_vec()]))
    });
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").response().text(), "abc");
    }
}

#[test]
fn a_body_short_of_its_length_ends_the_connection() {
    const SIZE: usize = 8 << 20;
    let server = Server::start(|asked, exchange| {
        let length = if asked.target == "/large" { SIZE } else { 2 };
        head(exchange, "200 OK", &[("Content-Length", &(length + 8).to_string())]);
        Reply::Complete(Chunks::One(vec![b'x'; length]))
    });
    for (target, size) in [("/small", 2), ("/large", SIZE)] {
        let mut client = server.connect();
        let head = client.get(target).head();
        assert!(head.contains(&format!("Content-Length: {}", size + 8)));
        // All that there is arrives, and the end tells.
        assert_eq!(client.end(), End::Closed(vec![b'x'; size]));
    }
}

#[test]
fn an_app_that_fails_is_a_500() {
    let server = Server::start(|asked, exchange| {
        if asked.target == "/half" {
            head(exchange, "200 OK", &[("X-Secret", "of the app")]);
        }
        Reply::Failed
    });
    for target in ["/", "/half"] {
        let mut client = server.connect();
        let response = client.get(target).response();
        assert_eq!((response.status, response.text()), (500, "Internal Server Error\n"));
        assert_eq!(response.field("X-Secret"), None);
        assert_eq!(response.field("Connection"), Some("close"));
        client.is_closed();
    }
    server.wait_for_requests(2);
}

#[test]
fn an_app_that_sets_no_head_is_a_500() {
    let server = Server::start(|_, _| Reply::Complete(Chunks::None));
    assert_eq!(server.connect().get("/").response().status, 500);
}
