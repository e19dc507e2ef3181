//! Connections that begin with a header of the PROXY protocol.

use std::time::Duration;

use ironhorn_http::proxy::Versions;
use ironhorn_worker::Options;

use crate::forwarded::peers;
use crate::harness::{Server, Setup, ok};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc6\x33\x64\x01\x12\x67\x01\xbb";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n";
const CLIENT: &str = "203.0.113.9:4711 http TCP4 198.51.100.1:443";

/// Answers with who is believed to ask.
fn telling(setup: Setup) -> Server {
    setup.start(|asked, exchange| {
        let sender = &asked.sender;
        let scheme = if sender.secure { "https" } else { "http" };
        let proxied = sender.proxied.map_or("-".to_owned(), |proxied| {
            format!("{} {}", proxied.protocol, proxied.destination)
        });
        ok(exchange, format!("{} {scheme} {proxied}", sender.peer))
    })
}

fn expecting(versions: Versions) -> impl FnOnce(&mut Options) {
    move |options| {
        options.trust.forwarders = peers(&["127.0.0.1"]);
        options.trust.proxy_protocol = Some(versions);
        options.trust.proxies = peers(&["127.0.0.1"]);
    }
}

#[test]
fn a_header_holds_for_the_whole_connection() {
    for header in [V1, V2] {
        let server = telling(Setup::new().options(expecting(Versions::Any)));
        let mut client = server.connect();
        // In one piece with the first request, which is pipelined with the second.
        client.send([header, REQUEST, REQUEST].concat());
        for _ in 0..2 {
            assert_eq!(client.response().text(), CLIENT);
        }
        for _ in 0..3 {
            assert_eq!(client.send(REQUEST).response().text(), CLIENT);
        }
        server.stop();
    }
}

#[test]
fn it_may_come_byte_by_byte() {
    for unix in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup::new();
        let setup = if unix { setup.unix(directory.path()) } else { setup };
        let server = telling(setup.options(|options| {
            expecting(Versions::Any)(options);
            options.heartbeat = Duration::from_millis(2);
        }));
        for header in [V1, V2] {
            let mut client = server.connect();
            for byte in header {
                client.send([*byte]);
                // The worker has seen it before the next one comes.
                server.turns.time(1);
            }
            for byte in REQUEST {
                client.send([*byte]);
            }
            assert_eq!(client.response().text(), CLIENT);
        }
    }
}

#[test]
fn a_client_behind_it_is_believed_only_if_it_is_listed_itself() {
    let server = telling(Setup::new().options(|options| {
        expecting(Versions::Any)(options);
        options.trust.forwarders = peers(&["127.0.0.1", "203.0.113.10"]);
    }));
    for (address, scheme) in [("203.0.113.9", "http"), ("203.0.113.10", "https")] {
        let header = format!("PROXY TCP4 {address} 198.51.100.1 1 443\r\n");
        let text = server.connect().send([header.as_bytes(), REQUEST].concat()).response();
        assert_eq!(text.text(), format!("{address}:1 {scheme} TCP4 198.51.100.1:443"));
    }
}

#[test]
fn who_is_not_named() {
    let server = telling(Setup::new().options(expecting(Versions::Any)));
    let local: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let unspecified: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x03abc";
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    let ssl = [&V2[..14], &[0, 0x0c + 8], &V2[16..], b"\x20\0\x05\x01\0\0\0\0"].concat();
    for (header, peer, scheme) in [
        // A health check is the proxy's own request, and the proxy is listed.
        (local, "127.0.0.1:", "https"),
        (unspecified, "127.0.0.1:", "http"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1:", "http"),
        (&unix, "unnamed", "http"),
        (&ssl, "203.0.113.9:4711", "https"),
    ] {
        let response = server.connect().send([header, REQUEST].concat()).response();
        let text = response.text();
        assert!(text.starts_with(peer) && text.contains(scheme), "{text}: {header:?}");
        assert_eq!(text.contains("https"), scheme == "https", "{text}: {header:?}");
    }
}

#[test]
fn a_listed_peer_has_to_send_one() {
    let server = telling(Setup::new().options(expecting(Versions::V2)));
    let short = [&V2[..14], &[0, 4], &V2[16..]].concat();
    for (sent, why) in [
        (REQUEST, "no PROXY header where one is required"),
        (b"PROPFIND / HTTP/1.1\r\n\r\n", "no PROXY header where one is required"),
        (b"\x16\x03\x01\x02\x00", "no PROXY header where one is required"),
        (V1, "version that proxy_protocol does not allow"),
        (&short, "cut short"),
    ] {
        let mut client = server.connect();
        let response = client.send(sent).response();
        assert_eq!(response.status, 400, "{why}");
        assert!(response.text().contains(why), "{}", response.text());
        client.is_closed();
    }
    assert_eq!(server.slot.read().requests, 0);
    // Those that say nothing are sent nothing.
    let mut client = server.connect();
    client.send(&V2[..20]).half_close().is_closed();
    server.connect().half_close().is_closed();
    server.wait_for_connections(0);
}

#[test]
fn another_peer_may_not_send_one() {
    let stranger = |options: &mut Options| {
        expecting(Versions::Any)(options);
        options.trust.proxies = peers(&["127.0.0.2"]);
    };
    for setup in [Setup::new().options(stranger), Setup::new()] {
        let server = telling(setup);
        for header in [V1, V2] {
            let mut client = server.connect();
            let response = client.send([header, REQUEST].concat()).response();
            assert_eq!(response.status, 400);
            assert!(response.text().contains("proxy_allow_from"), "{}", response.text());
            client.is_closed();
        }
        let text = server.connect().send(REQUEST).response().text().to_owned();
        assert!(text.starts_with("127.0.0.1:"), "{text}");
    }
}

#[test]
fn header_and_head_have_one_deadline() {
    let server = telling(Setup::new().options(|options| {
        expecting(Versions::Any)(options);
        options.header_timeout = Some(Duration::from_millis(200));
    }));
    // Nothing of the header, a part of it, all of it, a part of the head.
    server.connect().is_closed();
    server.connect().send(&V1[..9]).is_closed();
    server.connect().send(V1).is_closed();
    let mut client = server.connect();
    client.send(V1).send(&REQUEST[..5]);
    assert_eq!(client.response().status, 408);
    client.is_closed();
}

#[test]
fn a_server_that_stops_gives_it_a_moment() {
    let server = telling(Setup::new().options(expecting(Versions::Any)));
    let mut late = server.connect();
    let mut silent = server.connect();
    late.send(&V1[..9]);
    server.wait_for_connections(2);
    server.tell(ironhorn_unix::ToWorker::Stop);
    late.send(&V1[9..]).send(REQUEST);
    assert_eq!(late.response().text(), CLIENT);
    silent.is_closed();
    assert_eq!(server.left(), ironhorn_worker::Left::Drained);
}
