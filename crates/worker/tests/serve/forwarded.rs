//! What is believed of requests that come by a proxy.

use std::fs;
use std::num::NonZeroU8;
use std::time::Duration;

use ironhorn_http::forwarded::{ClientFrom, Policy};
use ironhorn_unix::{PeerList, PeerPattern};
use ironhorn_worker::Options;

use crate::harness::{Server, Setup, ok};

pub(crate) fn peers(patterns: &[&str]) -> PeerList {
    patterns.iter().map(|pattern| pattern.parse::<PeerPattern>().unwrap()).collect()
}

/// Answers with who is believed to ask, and how.
fn telling(setup: Setup) -> Server {
    setup.start(|asked, exchange| {
        let scheme = if asked.sender.secure { "https" } else { "http" };
        ok(exchange, format!("{} {scheme} {}", asked.sender.peer, asked.forwarded))
    })
}

fn trusting(patterns: &'static [&'static str], policy: Policy) -> impl FnOnce(&mut Options) {
    move |options| {
        options.trust.forwarders = peers(patterns);
        options.trust.policy = policy;
    }
}

fn everything() -> Policy {
    Policy { client: ClientFrom::Untrusted, host: true, script_name: true, prefix: true }
}

fn with(fields: &str) -> String {
    format!("GET /shop/cart HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

const FIELDS: &str = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n\
    X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 8443\r\nSCRIPT_NAME: /shop\r\n";

#[test]
fn a_listed_peer_is_believed() {
    let server = telling(Setup::new().options(trusting(&["127.0.0.1"], everything())));
    let mut client = server.connect();
    let told = "203.0.113.9:0 https true shop.example 8443 /shop /cart";
    assert_eq!(client.send(with(FIELDS)).response().text(), told);
    // Not what was believed of the request before.
    let text = client.send(with("")).response().text().to_owned();
    assert!(text.starts_with("127.0.0.1:") && text.ends_with("http true - - - -"), "{text}");
    assert_eq!(client.send(with(FIELDS)).response().text(), told);
}

#[test]
fn another_isnt() {
    for listed in [&["127.0.0.2", "unix"][..], &[]] {
        let server = telling(Setup::new().options(trusting(listed, everything())));
        let text = server.connect().send(with(FIELDS)).response().text().to_owned();
        assert!(text.starts_with("127.0.0.1:") && text.ends_with("http false - - - -"), "{text}");
    }
}

#[test]
fn a_unix_peer_is_believed_unless_nobody_is() {
    for (listed, told) in [
        (&["10.0.0.0/8"][..], "203.0.113.9:0 https true shop.example 8443 /shop /cart"),
        (&[], "unix http false - - - -"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup::new().unix(directory.path());
        let server = telling(setup.options(trusting(listed, everything())));
        assert_eq!(server.connect().send(with(FIELDS)).response().text(), told, "{listed:?}");
    }
}

#[test]
fn everybody_is_a_single_hop() {
    let server = telling(Setup::new().options(trusting(&["*"], everything())));
    let fields = "X-Forwarded-For: 198.51.100.6, 203.0.113.9\r\n";
    let text = server.connect().send(with(fields)).response().text().to_owned();
    assert_eq!(text, "203.0.113.9:0 http true - - - -");
}

#[test]
fn hops_are_counted_from_the_right() {
    let client = ClientFrom::Hops(NonZeroU8::new(2).unwrap());
    let policy = Policy { client, ..Policy::default() };
    let server = telling(Setup::new().options(trusting(&["127.0.0.1"], policy)));
    let fields = "X-Forwarded-For: 198.51.100.6, 203.0.113.9, 10.0.0.1\r\n";
    let text = server.connect().send(with(fields)).response().text().to_owned();
    assert!(text.starts_with("203.0.113.9:0 "), "{text}");
}

#[test]
fn what_contradicts_itself_is_refused_before_the_body() {
    let server = telling(Setup::new().options(trusting(&["127.0.0.1"], everything())));
    for fields in [
        "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n",
        "X-Forwarded-For: nobody\r\n",
        "Forwarded: for=\r\n",
        "SCRIPT_NAME: /elsewhere\r\n",
    ] {
        let mut client = server.connect();
        let request = format!(
            "POST /shop HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n{fields}\r\n"
        );
        let response = client.send(request).response();
        assert_eq!(response.status, 400, "{fields}");
        client.is_closed();
    }
    assert_eq!(server.slot.read().requests, 0);
    // What isn't heeded contradicts nobody.
    let server = telling(Setup::new());
    let fields = "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n";
    assert_eq!(server.connect().send(with(fields)).response().status, 200);
}

#[test]
fn the_access_log_has_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let setup = Setup::new().access_log("%(h)s %(r)s %(s)s", &path).options(|options| {
        trusting(&["127.0.0.1"], everything())(options);
        options.limits.body = Some(10);
        options.body_timeout = Some(Duration::from_millis(50));
    });
    let server = telling(setup);
    let from = "X-Forwarded-For: 203.0.113.9\r\n";
    server.connect().send(with(from)).response();
    server.connect().send(with("Forwarded: for=_hidden\r\n")).response();
    let post = |length: u32| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{from}\r\nab")
    };
    assert_eq!(server.connect().send(post(5) + "cde").response().status, 200);
    assert_eq!(server.connect().send(post(5)).response().status, 408);
    let contradiction = format!("{from}X-Forwarded-Proto: x\r\n");
    assert_eq!(server.connect().send(with(&contradiction)).response().status, 400);
    let lines = || fs::read_to_string(&path).unwrap();
    server.wait_until("all the lines", || lines().lines().count() >= 5);
    let lines = lines();
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "203.0.113.9 GET /shop/cart HTTP/1.1 200",
            "- GET /shop/cart HTTP/1.1 200",
            "203.0.113.9 POST / HTTP/1.1 200",
            "203.0.113.9 POST / HTTP/1.1 408",
            // Who can't be believed is who is connected.
            "127.0.0.1 GET /shop/cart HTTP/1.1 400",
        ]
    );
}
