use std::path::PathBuf;

use super::*;
use crate::testing::{self, with_request};
use ironhorn_http::Received;
use ironhorn_http::uwsgi::{Packet, Translation};
use ironhorn_worker::{Forwarded, Sender};

fn constants<'py>(py: Python<'py>) -> Constants<'py> {
    Constants {
        errors: py.None().into_bound(py),
        file_wrapper: py.None().into_bound(py),
        empty_input: py.None().into_bound(py),
        client_disconnected: py.None().into_bound(py),
        extend_timeout: py.None().into_bound(py),
        multiprocess: true,
        multithread: false,
    }
}

fn inet() -> Local {
    Local::Inet("127.0.0.1:8000".parse().unwrap())
}

fn unix() -> Local {
    Local::Unix(PathBuf::from("/run/app.sock"))
}

/// Runs `check` over the environ that `wire` makes.
fn environ(
    wire: &[u8],
    local: Local,
    peer: Peer,
    header_map: HeaderMap,
    check: impl FnOnce(Result<Bound<'_, PyDict>, EnvironError>),
) {
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[local], header_map, Visible::default(), &constants(py)).unwrap();
        with_request(wire, &peer, |request| check(environs.build(request, 5, None)));
    });
}

#[test]
fn what_came_encrypted_is_https() {
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[inet()], HeaderMap::Drop, Visible::default(), &constants(py))
                .unwrap();
        with_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &peer(), |request| {
            for (secure, scheme) in [(true, "https"), (false, "http")] {
                let sender = Sender { secure, ..request.sender.clone() };
                let request = Request { sender: &sender, ..*request };
                let Ok(environ) = environs.build(&request, 0, None) else { panic!("no environ") };
                assert_eq!(get(&environ, "wsgi.url_scheme").as_deref(), Some(scheme));
            }
        });
    });
}

/// The environ of a request by the uwsgi protocol.
fn of_packet(variables: &[(&str, &str)], local: Local, check: impl FnOnce(&Bound<'_, PyDict>)) {
    let given = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a%2520b?c=d"), ("HTTP_HOST", "h:8")];
    let texts = given.iter().chain(variables).flat_map(|(name, value)| [*name, *value]);
    let encoded: Vec<u8> = texts
        .flat_map(|text| {
            [&u16::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
        })
        .collect();
    let [low, high] = u16::try_from(encoded.len()).unwrap().to_le_bytes();
    let bytes = [&[0, low, high, 0], &encoded[..]].concat();
    let Ok(Received::Complete(packet)) = Packet::receive(&bytes) else { panic!("no packet") };
    let Translation { head, variables, client, secure, .. } = Translation::of(&packet).unwrap();
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[local], HeaderMap::Drop, Visible::default(), &constants(py))
                .unwrap();
        with_request(&head, &client.map_or(peer(), Peer::Inet), |request| {
            let sender = Sender { secure, variables, ..request.sender.clone() };
            let request = Request { sender: &sender, ..*request };
            let Ok(environ) = environs.build(&request, 0, None) else { panic!("no environ") };
            check(&environ);
        });
    });
}

#[test]
fn what_a_proxy_says_stands_as_it_is() {
    let said = [
        ("QUERY_STRING", "rewritten"),
        ("PATH_INFO", "/app/a%20b"),
        ("SCRIPT_NAME", "/app"),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", "443"),
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("REMOTE_ADDR", "2001:db8::1"),
        ("REMOTE_PORT", "4711"),
        ("REMOTE_USER", "ada"),
        ("HTTPS", "on"),
        ("DOCUMENT_ROOT", "/srv"),
        ("GEOIP_COUNTRY", "DE"),
        ("SSL_CLIENT_CERT", "a\n\tb"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.1"),
        ("HTTP_CONNECTION", "keep-alive"),
    ];
    let unix = Local::Unix("/run/app.sock".into());
    for local in [inet(), unix] {
        of_packet(&said, local, |environ| {
            for (name, value) in said {
                let value = if name == "PATH_INFO" { "/a%20b" } else { value };
                assert_eq!(get(environ, name).as_deref(), Some(value), "{name}");
            }
            assert_eq!(get(environ, "wsgi.url_scheme").as_deref(), Some("https"));
            assert_eq!(get(environ, "REQUEST_URI").as_deref(), Some("/a%2520b?c=d"));
            assert_eq!(get(environ, "RAW_URI").as_deref(), Some("/a%2520b?c=d"));
            assert_eq!(get(environ, "HTTP_HOST").as_deref(), Some("h:8"));
        });
    }
}

#[test]
fn what_a_proxy_does_not_say_is_as_for_http() {
    of_packet(&[], Local::Unix("/run/app.sock".into()), |environ| {
        for (name, value) in [
            ("PATH_INFO", "/a%20b"),
            ("SCRIPT_NAME", ""),
            ("QUERY_STRING", "c=d"),
            ("SERVER_NAME", "h"),
            ("SERVER_PORT", "8"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
            ("wsgi.url_scheme", "http"),
            ("REMOTE_ADDR", "192.0.2.7"),
        ] {
            assert_eq!(get(environ, name).as_deref(), Some(value), "{name}");
        }
    });
    // An address without a port.
    of_packet(&[("REMOTE_ADDR", "192.0.2.9")], inet(), |environ| {
        assert_eq!(get(environ, "REMOTE_ADDR").as_deref(), Some("192.0.2.9"));
        assert_eq!(get(environ, "REMOTE_PORT"), None);
    });
}

#[test]
fn orders_to_the_server_are_not_in_the_environ() {
    let orders = ["UWSGI_FILE", "UWSGI_SETENV", "UWSGI_SCHEME", "ironhorn.new", "HTTP_PROXY"];
    let said = orders.map(|name| (name, "x"));
    of_packet(&[said.as_slice(), &[("wsgi.url_scheme", "gopher")]].concat(), inet(), |environ| {
        assert!(orders.iter().all(|name| get(environ, name).is_none()));
        assert_eq!(get(environ, "wsgi.url_scheme").as_deref(), Some("http"));
    });
}

fn peer() -> Peer {
    Peer::Inet("192.0.2.7:54321".parse().unwrap())
}

fn get(environ: &Bound<'_, PyDict>, key: &str) -> Option<String> {
    environ.get_item(key).unwrap().map(|value| value.extract().unwrap())
}

#[track_caller]
fn expect(wire: &[u8], expected: &[(&str, Option<&str>)]) {
    expect_with(wire, inet(), peer(), HeaderMap::Drop, expected);
}

#[track_caller]
fn expect_with(
    wire: &[u8],
    local: Local,
    peer: Peer,
    header_map: HeaderMap,
    expected: &[(&str, Option<&str>)],
) {
    environ(wire, local, peer, header_map, |environ| {
        let Ok(environ) = environ else { panic!("no environ") };
        for (key, value) in expected {
            assert_eq!(get(&environ, key).as_deref(), *value, "{key}");
        }
    });
}

#[test]
fn the_cgi_keys() {
    expect(
        b"POST /a%20b/%E9?q=%20&r HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\
          Content-Type: text/plain\r\nX-Mine: \xe9\r\n\r\n",
        &[
            ("REQUEST_METHOD", Some("POST")),
            ("SCRIPT_NAME", Some("")),
            ("PATH_INFO", Some("/a b/\u{e9}")),
            ("QUERY_STRING", Some("q=%20&r")),
            ("CONTENT_TYPE", Some("text/plain")),
            ("CONTENT_LENGTH", Some("5")),
            ("SERVER_NAME", Some("127.0.0.1")),
            ("SERVER_PORT", Some("8000")),
            ("SERVER_PROTOCOL", Some("HTTP/1.0")),
            ("REMOTE_ADDR", Some("192.0.2.7")),
            ("REMOTE_PORT", Some("54321")),
            ("RAW_URI", Some("/a%20b/%E9?q=%20&r")),
            ("REQUEST_URI", Some("/a%20b/%E9?q=%20&r")),
            ("HTTP_HOST", Some("h")),
            ("HTTP_X_MINE", Some("\u{e9}")),
            ("HTTP_CONTENT_LENGTH", None),
            ("HTTP_CONTENT_TYPE", None),
            ("wsgi.url_scheme", Some("http")),
        ],
    );
    expect(
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        &[
            ("REQUEST_METHOD", Some("GET")),
            ("QUERY_STRING", Some("")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("CONTENT_LENGTH", None),
            ("CONTENT_TYPE", None),
        ],
    );
}

#[test]
fn repeated_fields_are_joined() {
    expect(
        b"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nX-Own: 1\r\nCookie: a=1\r\naccept: b\r\n\
          COOKIE: b=2\r\nx-own: 2\r\nAccept: c\r\n\r\n",
        &[
            ("HTTP_ACCEPT", Some("a,b,c")),
            ("HTTP_COOKIE", Some("a=1; b=2")),
            ("HTTP_X_OWN", Some("1,2")),
        ],
    );
}

#[test]
fn proxy_never_becomes_http_proxy() {
    for header_map in [HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Allow] {
        let wire = b"GET / HTTP/1.1\r\nHost: h\r\nProxy: http://evil\r\nPROXY: x\r\n\r\n";
        expect_with(wire, inet(), peer(), header_map, &[("HTTP_PROXY", None)]);
    }
}

#[test]
fn names_with_an_underscore() {
    let wire = b"GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: evil\r\nX-Forwarded-For: good\r\n\
                 User_Agent: u\r\nContent_Length: 9\r\n\r\n";
    expect_with(
        wire,
        inet(),
        peer(),
        HeaderMap::Drop,
        &[("HTTP_X_FORWARDED_FOR", Some("good")), ("HTTP_USER_AGENT", None)],
    );
    expect_with(
        wire,
        inet(),
        peer(),
        HeaderMap::Allow,
        &[
            ("HTTP_X_FORWARDED_FOR", Some("evil,good")),
            ("HTTP_USER_AGENT", Some("u")),
            ("CONTENT_LENGTH", None),
            ("HTTP_CONTENT_LENGTH", Some("9")),
        ],
    );
    environ(wire, inet(), peer(), HeaderMap::Refuse, |environ| {
        assert!(matches!(environ, Err(EnvironError::Underscore)));
    });
}

#[test]
fn a_chunked_body_has_its_length() {
    expect(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        &[("CONTENT_LENGTH", Some("5")), ("HTTP_TRANSFER_ENCODING", None)],
    );
}

#[test]
fn an_absolute_target_replaces_host() {
    expect(
        b"GET http://real.example:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n",
        &[
            ("HTTP_HOST", Some("real.example:81")),
            ("PATH_INFO", Some("/p")),
            ("QUERY_STRING", Some("q")),
            ("REQUEST_URI", Some("http://real.example:81/p?q")),
        ],
    );
}

#[test]
fn a_unix_socket_is_named_by_host() {
    for (host, name, port) in [
        ("Host: example.org:8080\r\n", "example.org", "8080"),
        ("Host: example.org\r\n", "example.org", "80"),
        ("", "localhost", "80"),
    ] {
        expect_with(
            format!("GET / HTTP/1.0\r\n{host}\r\n").as_bytes(),
            unix(),
            Peer::Unix,
            HeaderMap::Drop,
            &[
                ("SERVER_NAME", Some(name)),
                ("SERVER_PORT", Some(port)),
                ("REMOTE_ADDR", Some("")),
                ("REMOTE_PORT", None),
            ],
        );
    }
    // An address needs none, whatever the client says.
    expect(
        b"GET / HTTP/1.1\r\nHost: example.org:1\r\n\r\n",
        &[("SERVER_NAME", Some("127.0.0.1")), ("SERVER_PORT", Some("8000"))],
    );
}

#[test]
fn ipv6_addresses() {
    expect_with(
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        Local::Inet("[::1]:80".parse().unwrap()),
        Peer::Inet("[::ffff:192.0.2.1]:1".parse().unwrap()),
        HeaderMap::Drop,
        &[("SERVER_NAME", Some("[::1]")), ("REMOTE_ADDR", Some("192.0.2.1"))],
    );
}

#[test]
fn environs_are_independent_and_have_room() {
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[inet()], HeaderMap::Drop, Visible::default(), &constants(py))
                .unwrap();
        let wire = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        with_request(wire, &peer(), |request| {
            let Ok(first) = environs.build(request, 0, None) else { panic!("no environ") };
            let Ok(second) = environs.build(request, 0, None) else { panic!("no environ") };
            testing::run_with(
                py,
                c"
import sys
first['mine'] = 1
assert 'mine' not in second
assert type(first) is dict and all(type(key) is str for key in first)
assert first['wsgi.version'] == (1, 0)
assert first['wsgi.multiprocess'] is True
assert first['wsgi.multithread'] is False
assert first['wsgi.run_once'] is False
assert first['wsgi.input_terminated'] is True
assert first['SERVER_SOFTWARE'].startswith('ironhorn/')
size = sys.getsizeof(second)
# 42 keys fit, see template.rs: 19 constants, 5 that this request has, and these.
assert len(second) == 24
for number in range(18):
    second[f'HTTP_{number}'] = ''
assert sys.getsizeof(second) == size, 'rehashed'
",
                &[("first", first.as_any()), ("second", second.as_any())],
            );
        });
    });
}

/// Like [`expect_with`], of a request whose sender and proxy say so.
#[track_caller]
fn expect_of(
    wire: &[u8],
    visible: Visible,
    header_map: HeaderMap,
    sender: Sender,
    forwarded: Forwarded<'_>,
    expected: &[(&str, Option<&str>)],
) {
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[inet()], header_map, visible, &constants(py)).unwrap();
        with_request(wire, &peer(), |request| {
            let request = Request { sender: &sender, forwarded, ..*request };
            let Ok(environ) = environs.build(&request, 0, None) else { panic!("no environ") };
            for (key, value) in expected {
                assert_eq!(get(&environ, key).as_deref(), *value, "{key}");
            }
        });
    });
}

fn forwarded() -> Forwarded<'static> {
    Forwarded { trusted: true, ..Forwarded::default() }
}

#[test]
fn host_and_port_by_a_proxy() {
    let of = |host: Option<&'static str>, port, secure, expected: [&str; 3]| {
        let host = host.map(str::as_bytes);
        let keys = ["HTTP_HOST", "SERVER_NAME", "SERVER_PORT"];
        expect_of(
            b"GET / HTTP/1.1\r\nHost: inner.example\r\n\r\n",
            Visible::default(),
            HeaderMap::Drop,
            Sender::new(peer(), secure),
            Forwarded { host, port, ..forwarded() },
            &[0, 1, 2].map(|nr| (keys[nr], Some(expected[nr]))),
        );
    };
    of(Some("a.example"), None, true, ["a.example", "a.example", "443"]);
    of(Some("a.example"), Some(443), true, ["a.example", "a.example", "443"]);
    of(Some("a.example"), Some(8080), false, ["a.example:8080", "a.example", "8080"]);
    of(Some("a.example:81"), Some(8080), false, ["a.example:81", "a.example", "81"]);
    of(Some("[::1]:81"), None, false, ["[::1]:81", "[::1]", "81"]);
    of(None, Some(8443), true, ["inner.example:8443", "inner.example", "8443"]);
    of(None, Some(80), false, ["inner.example", "inner.example", "80"]);
    of(None, None, true, ["inner.example", "127.0.0.1", "8000"]);
}

#[test]
fn a_prefix_by_a_proxy() {
    let of = |prefix: &'static str, path: Option<&'static str>, script_name, path_info| {
        let script = Some(prefix.as_bytes());
        let path = path.map(str::as_bytes);
        expect_of(
            b"GET /caf%C3%A9/x%20y HTTP/1.1\r\nHost: h\r\n\r\n",
            Visible::default(),
            HeaderMap::Drop,
            Sender::new(peer(), false),
            Forwarded { script_name: script, path, ..forwarded() },
            &[
                ("SCRIPT_NAME", Some(script_name)),
                ("PATH_INFO", Some(path_info)),
                ("REQUEST_URI", Some("/caf%C3%A9/x%20y")),
            ],
        );
    };
    of("/caf%C3%A9", Some("/x%20y"), "/caf\u{c3}\u{a9}", "/x y");
    of("/caf%C3%A9/x%20y", Some(""), "/caf\u{c3}\u{a9}/x y", "");
    of("/shop", None, "/shop", "/caf\u{c3}\u{a9}/x y");
}

#[test]
fn what_the_proxy_protocol_says() {
    let wire = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let proxy = Peer::Inet("[::ffff:10.0.0.1]:9".parse().unwrap());
    let destination = "198.51.100.1:443".parse().unwrap();
    let sender = Sender {
        peer: peer(),
        connected: proxy,
        proxied: Some(ironhorn_worker::Proxied { protocol: "TCP4", destination }),
        ..Sender::new(peer(), false)
    };
    let of = |sender, expected: &[_]| {
        let visible = Visible::default();
        expect_of(wire, visible, HeaderMap::Drop, sender, Forwarded::default(), expected);
    };
    of(
        sender.clone(),
        &[
            ("REMOTE_ADDR", Some("192.0.2.7")),
            ("REMOTE_PORT", Some("54321")),
            ("ironhorn.peer_addr", Some("10.0.0.1")),
            ("PROXY_PROTOCOL", Some("TCP4")),
            ("PROXY_ADDR", Some("198.51.100.1")),
            ("PROXY_PORT", Some("443")),
        ],
    );
    of(
        Sender {
            peer: Peer::Inet("192.0.2.8:0".parse().unwrap()),
            proxied: None,
            ..sender.clone()
        },
        &[
            ("REMOTE_ADDR", Some("192.0.2.8")),
            ("REMOTE_PORT", None),
            ("ironhorn.peer_addr", Some("10.0.0.1")),
            ("PROXY_PROTOCOL", None),
        ],
    );
    of(
        Sender { peer: Peer::Unnamed, connected: Peer::Unix, ..sender },
        &[("REMOTE_ADDR", Some("")), ("REMOTE_PORT", None), ("ironhorn.peer_addr", Some(""))],
    );
    of(Sender::new(peer(), false), &[("ironhorn.peer_addr", None), ("PROXY_PROTOCOL", None)]);
}

#[test]
fn strangers_are_not_heard() {
    let wire = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: a\r\nX_Forwarded_Own: b\r\n\
                 Forwarded: for=a\r\nX-Real-IP: a\r\nX-Own: c\r\n\r\n";
    let keys = ["HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_OWN", "HTTP_FORWARDED", "HTTP_X_REAL_IP"];
    for (hides_strangers, trusted, seen) in
        [(true, false, false), (true, true, true), (false, false, true)]
    {
        let visible = Visible { hides_strangers, listed: Vec::new() };
        expect_with_keys(wire, visible, trusted, &keys, seen);
    }
}

/// Whether all of `keys` are there, or none; HTTP_X_OWN is in any case.
#[track_caller]
fn expect_with_keys(wire: &[u8], visible: Visible, trusted: bool, keys: &[&str], seen: bool) {
    Python::initialize();
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[inet()], HeaderMap::Allow, visible, &constants(py)).unwrap();
        with_request(wire, &peer(), |request| {
            let forwarded = Forwarded { trusted, ..Forwarded::default() };
            let Ok(environ) = environs.build(&Request { forwarded, ..*request }, 0, None) else {
                panic!("no environ")
            };
            for key in keys {
                assert_eq!(get(&environ, key).is_some(), seen, "{key}");
            }
            assert!(get(&environ, "HTTP_X_OWN").is_some());
        });
    });
}

#[test]
fn listed_fields_are_for_proxies_only_and_in_one_spelling() {
    let wire = b"GET / HTTP/1.1\r\nHost: h\r\nRemote-User: evil\r\nREMOTE_USER: good\r\n\
                 X-Team: a\r\nX_Team: evil\r\nSCRIPT_NAME: /s\r\nOther_One: x\r\n\r\n";
    let listed: Vec<String> = ["REMOTE_USER", "X-Team", "SCRIPT_NAME"].map(Into::into).to_vec();
    let visible = Visible { hides_strangers: false, listed };
    for (trusted, user, team) in [(true, Some("good"), Some("a")), (false, None, None)] {
        expect_of(
            wire,
            visible.clone(),
            HeaderMap::Drop,
            Sender::new(peer(), false),
            Forwarded { trusted, ..Forwarded::default() },
            &[
                ("HTTP_REMOTE_USER", user),
                ("HTTP_X_TEAM", team),
                ("HTTP_SCRIPT_NAME", None),
                ("HTTP_OTHER_ONE", None),
            ],
        );
    }
    // To refuse is to refuse, also what would be hidden.
    Python::attach(|py| {
        let mut environs =
            Environs::new(py, &[inet()], HeaderMap::Refuse, visible, &constants(py)).unwrap();
        for (fields, trusted, refused) in [
            ("REMOTE_USER: a", true, false),
            ("REMOTE_USER: a", false, true),
            ("X_Team: a", true, true),
            ("X-Team: a", false, false),
        ] {
            let wire = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
            with_request(wire.as_bytes(), &peer(), |request| {
                let forwarded = Forwarded { trusted, ..Forwarded::default() };
                let built = environs.build(&Request { forwarded, ..*request }, 0, None);
                assert_eq!(built.is_err(), refused, "{fields} {trusted}");
            });
        }
    });
}
