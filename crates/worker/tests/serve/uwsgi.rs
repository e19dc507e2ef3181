//! The uwsgi protocol on the wire.

use std::fs;
use std::time::Duration;

use ironhorn_http::Version;
use ironhorn_unix::{Peer, PeerPattern, ToWorker};
use ironhorn_worker::{Chunks, Options, Reply};

use crate::client::{Client, End};
use crate::harness::{Closes, Server, Setup, echo, head, meeting, ok};

/// A packet of these variables.
fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
    let texts = variables.iter().flat_map(|(name, value)| [*name, *value]);
    let encoded: Vec<u8> = texts
        .flat_map(|text| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat())
        .collect();
    [&[0], &(encoded.len() as u16).to_le_bytes()[..], &[0], &encoded].concat()
}

/// A request as nginx would send it.
fn request(method: &str, uri: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut variables = vec![
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", uri),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "40000"),
        ("CONTENT_LENGTH", ""),
        ("HTTP_HOST", "example.org"),
        ("HTTP_CONNECTION", "keep-alive"),
    ];
    variables.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
    variables.extend_from_slice(more);
    packet(&variables)
}

fn get(uri: &str) -> Vec<u8> {
    request("GET", uri, &[])
}

fn setup() -> Setup {
    Setup::new().uwsgi()
}

/// The whole answer, which ends with the connection.
#[track_caller]
fn answer(client: &mut Client) -> String {
    match client.end() {
        End::Closed(bytes) => String::from_utf8(bytes).unwrap(),
        End::Reset(bytes) => panic!("reset after {}", bytes.escape_ascii()),
    }
}

#[test]
fn a_request_is_answered_in_http_and_the_connection_closed() {
    let server = setup().start(|asked, exchange| {
        assert_eq!(asked.peer, Peer::Inet("192.0.2.7:40000".parse().unwrap()));
        assert!(!asked.sender.secure);
        assert_eq!(asked.sender.variables.get("REMOTE_USER"), Some(&b"ada"[..]));
        assert_eq!(asked.version, Version::Http10);
        assert_eq!(asked.fields, [("HOST".to_owned(), b"example.org".to_vec())]);
        echo(asked, exchange)
    });
    let mut client = server.connect();
    client.send(request("GET", "/a?b", &[("REMOTE_USER", "ada")]));
    let answer = answer(&mut client);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Length: 5\r\n"), "{head}");
    assert!(head.ends_with("\r\nConnection: close"), "{head}");
    assert_eq!(body, "/a?b ");
    server.wait_for_requests(1);
    server.stop();
}

#[test]
fn a_packet_may_come_bit_by_bit_and_its_body_too() {
    let server = setup().start(echo);
    let mut bytes = request("POST", "/", &[("CONTENT_LENGTH", "5")]);
    bytes.extend_from_slice(b"hello");
    let mut client = server.connect();
    for byte in &bytes {
        client.send([*byte]);
        server.turns.time(1);
    }
    assert_eq!(client.response().text(), "/ hello");
    client.is_closed();
}

#[test]
fn a_body_is_as_long_as_announced_and_what_follows_is_ignored() {
    let server = setup().start(echo);
    for rest in [&b"hello"[..], b"hellogoodbye", &[b"hello", &get("/smuggled")[..]].concat()] {
        let mut client = server.connect();
        client.send([&request("POST", "/", &[("CONTENT_LENGTH", "5")]), rest].concat());
        assert_eq!(client.response().text(), "/ hello");
        client.is_closed();
    }
    server.wait_for_requests(3);
    server.stop();
    let server = setup().start(|asked, exchange| {
        assert!(asked.spooled);
        ok(exchange, asked.body.len().to_string())
    });
    let mut client = server.connect();
    client.send(request("PUT", "/", &[("CONTENT_LENGTH", "3000000")]));
    client.send(vec![b'x'; 3_000_000]);
    assert_eq!(client.response().text(), "3000000");
}

#[test]
fn a_body_without_length_ends_with_the_connection_and_is_never_chunked() {
    let closes = Closes::default();
    let counted = closes.clone();
    let server = setup().start(move |_, exchange| {
        head(exchange, "200 OK", &[]);
        exchange.interim(103, &[(b"Link".to_vec(), b"</a>".to_vec())]).unwrap();
        Reply::Stream { first: Some(b"one ".to_vec()), rest: closes.of([b"two ", b"three"]) }
    });
    let mut client = server.connect();
    let answer = answer(client.send(get("/")));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
    assert_eq!(body, "one two three");
    server.wait_until("the body is closed", || counted.count() == 1);
}

#[test]
fn nothing_is_sent_before_a_body_is_whole() {
    let server = setup().start(echo);
    let mut client = server.connect();
    let expecting =
        request("POST", "/", &[("CONTENT_LENGTH", "2"), ("HTTP_EXPECT", "100-continue")]);
    client.send(expecting);
    assert!(!client.hears_within(Duration::from_millis(50)));
    assert_eq!(client.send("hi").response().text(), "/ hi");
}

#[test]
fn head_has_a_length_and_no_body() {
    let server = setup().start(|_, exchange| {
        head(exchange, "200 OK", &[]);
        Reply::Complete(Chunks::One(b"hello".to_vec()))
    });
    let mut client = server.connect();
    let answer = answer(client.send(request("HEAD", "/", &[])));
    assert!(answer.contains("\r\nContent-Length: 5\r\n") && answer.ends_with("\r\n\r\n"));
}

#[test]
fn what_breaks_a_rule_is_refused_in_http() {
    let server = setup()
        .options(|options| {
            options.limits.body = Some(10);
            options.limits.fields = 3;
            options.limits.request_line = 100;
        })
        .start(|_, _| panic!("called"));
    let long = format!("/{}", "x".repeat(100));
    let many = ["HTTP_A", "HTTP_B", "HTTP_C"].map(|name| (name, ""));
    for (bytes, status) in [
        (packet(&[]), 400),
        (packet(&[("REQUEST_METHOD", "GET")]), 400),
        (request("GET", "a", &[]), 400),
        (request("GET", "/ HTTP/1.1\r\nX: y", &[]), 400),
        (request("G T", "/", &[]), 400),
        (request("GET", &long, &[]), 414),
        (request("GET", "/", &many), 431),
        (request("GET", "/", &[("HTTP_HOST", "a b")]), 400),
        (request("GET", "/", &[("HTTP_A", "b\r\nC: d")]), 400),
        (request("POST", "/", &[("CONTENT_LENGTH", "11")]), 413),
        (request("POST", "/", &[("CONTENT_LENGTH", "-1")]), 400),
        (
            request(
                "POST",
                "/",
                &[("CONTENT_LENGTH", "1"), ("HTTP_A", ""), ("CONTENT_LENGTH", "1")],
            ),
            400,
        ),
        (b"\0\x04\0\0\x01\0A\x09".to_vec(), 400),
        (b"\0\x02\0\0\0\0".to_vec(), 400),
        (b"\x05".to_vec(), 400),
        (b"\x16\x03\x01".to_vec(), 400),
        (b"\xff\xff\xff\xff".to_vec(), 400),
    ] {
        let mut client = server.connect();
        let response = client.send(&bytes).response();
        assert_eq!(response.status, status, "{}", bytes.escape_ascii());
        assert_eq!(response.field("Connection"), Some("close"));
        client.is_closed();
    }
    server.wait_for_connections(0);
    assert_eq!(server.slot.read().requests, 0);
}

#[test]
fn who_speaks_the_other_protocol_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = setup().access_log(r#""%(r)s" %(s)s"#, &path).start(echo);
    let response = server.connect().get("/").response();
    assert_eq!(
        (response.status, response.text()),
        (
            400,
            "this looks like HTTP, but the uwsgi protocol is spoken here: use uwsgi_pass in nginx, \
             or listen without uwsgi://\n"
        )
    );
    server.wait_until("the line", || {
        fs::read_to_string(&path).unwrap() == "\"GET / HTTP/1.1\" 400\n"
    });

    let server = Server::start(echo);
    let response = server.connect().send(get("/")).response();
    assert_eq!(
        (response.status, response.text()),
        (
            400,
            "this looks like the uwsgi protocol, but HTTP is spoken here: use proxy_pass in nginx, \
             or listen with uwsgi://\n"
        )
    );
    // Not after a request: that is no packet of nginx's.
    let mut client = server.connect();
    assert_eq!(client.get("/").response().status, 200);
    assert_eq!(client.send(get("/")).response().text(), "method is not a token\n");
}

#[test]
fn a_packet_that_stops_is_waited_for_as_long_as_a_head() {
    let limit = |options: &mut Options| {
        options.header_timeout = Some(Duration::from_millis(50));
        options.body_timeout = Some(Duration::from_millis(50));
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = setup().options(limit).access_log(r#""%(r)s" %(s)s"#, &path).start(echo);
    let bytes = request("POST", "/", &[("CONTENT_LENGTH", "5")]);
    for part in [&bytes[..1], &bytes[..bytes.len() - 1], &bytes] {
        let mut client = server.connect();
        assert_eq!(client.send(part).response().status, 408);
        client.is_closed();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "\"-\" 408\n\"-\" 408\n\"POST / HTTP/1.0\" 408\n"
    );
    server.connect().is_closed();
    server.connect().send(&bytes[..9]).half_close().is_closed();
    assert_eq!(server.connect().send(get("/")).response().status, 200);
}

/// Only these may connect.
fn only(patterns: &'static [&'static str]) -> impl FnOnce(&mut Options) {
    let patterns = patterns.iter().map(|pattern| pattern.parse::<PeerPattern>().unwrap());
    move |options: &mut Options| options.uwsgi_allow_from = patterns.collect()
}

#[test]
fn strangers_are_cut_off() {
    #[track_caller]
    fn is_cut_off(server: Server) {
        for _ in 0..3 {
            match server.connect().end() {
                End::Closed(rest) | End::Reset(rest) => assert_eq!(rest, b""),
            }
        }
        server.wait_for_connections(0);
        server.stop();
    }
    let directory = tempfile::tempdir().unwrap();
    for patterns in [&["10.0.0.0/8", "::1"][..], &["unix"], &[]] {
        is_cut_off(setup().options(only(patterns)).start(|_, _| panic!("called")));
        // HTTP asks nobody.
        let server = Setup::new().options(only(patterns)).start(echo);
        assert_eq!(server.connect().get("/").response().text(), "/ ");
    }
    is_cut_off(setup().options(only(&[])).unix(directory.path()).start(|_, _| panic!("called")));

    for patterns in [&["10.0.0.0/8"][..], &["unix"]] {
        let directory = tempfile::tempdir().unwrap();
        let server = setup().options(only(patterns)).unix(directory.path()).start(echo);
        assert_eq!(server.connect().send(get("/")).response().text(), "/ ");
    }
    let server = setup().options(only(&["127.0.0.0/8"])).start(echo);
    assert_eq!(server.connect().send(get("/")).response().text(), "/ ");
}

#[test]
fn strangers_in_the_queue_keep_nobody_from_being_served_at_the_end() {
    let (meets, app) = meeting();
    let directory = tempfile::tempdir().unwrap();
    let listeners = vec![
        "127.0.0.1:0".parse().unwrap(),
        ironhorn_unix::Address::Unix(directory.path().join("socket")),
    ];
    let server = setup().listeners(listeners).options(only(&["unix"])).start(app);
    let mut held = server.connect_to(1);
    held.send(get("/meeting"));
    server.wait_until("the app is called", || server.request() == "GET /meeting");
    let strangers: Vec<_> = (0..3).map(|_| server.connect_to(0)).collect();
    let mut queued = server.connect_to(1);
    queued.send(get("/queued"));
    server.tell(ToWorker::Stop);
    meets.send(()).unwrap();
    assert_eq!(held.response().text(), "/meeting ");
    assert_eq!(queued.response().text(), "/queued ");
    assert_eq!(server.left(), ironhorn_worker::Left::Drained);
    drop(strangers);
}

#[test]
fn the_access_log_shows_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = setup().access_log(r#"%(h)s %(u)s "%(r)s" %(s)s %(b)s"#, &path).start(echo);
    let bytes = request("GET", "/a", &[("SERVER_PROTOCOL", "HTTP/2.0"), ("REMOTE_USER", "ada")]);
    assert_eq!(server.connect().send(bytes).response().status, 200);
    // An address that is none leaves the peer's own.
    let bytes = request("GET", "/b", &[("REMOTE_ADDR", "unix:")]);
    assert_eq!(server.connect().send(bytes).response().status, 200);
    server.connect().send(request("GET", "b", &[])).response();
    server.stop();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "192.0.2.7 ada \"GET /a HTTP/2.0\" 200 3\n127.0.0.1 - \"GET /b HTTP/1.1\" 200 3\n\
         192.0.2.7 - \"GET b HTTP/1.0\" 400 52\n"
    );
}

#[test]
fn a_health_check_by_uwsgi() {
    let server = setup()
        .options(|options| options.health_path = Some("/health".to_owned()))
        .start(|_, _| panic!("called"));
    let mut client = server.connect();
    assert_eq!(client.send(get("/health")).response().text(), "ready\n");
    client.is_closed();
    // By what the proxy asks for.
    let moved = request("GET", "/x", &[("PATH_INFO", "/health")]);
    assert_eq!(server.connect().send(moved).response().text(), "ready\n");
}

#[test]
fn what_the_proxy_asks_for_is_decoded_and_counts() {
    let server = setup()
        .options(|options| options.health_path = Some("/health%20check".to_owned()))
        .start(echo);
    let status = |uri, path_info| {
        let bytes = request("GET", uri, &[("PATH_INFO", path_info)]);
        server.connect().send(bytes).response().text().to_owned()
    };
    assert_eq!(status("/x", "/health check"), "ready\n");
    assert_eq!(status("/health%20check", "/denied"), "/health%20check ");
    assert_eq!(status("/x", "/health%20check"), "/x ");
    assert_eq!(server.connect().send(get("/health%20check")).response().text(), "ready\n");
}
