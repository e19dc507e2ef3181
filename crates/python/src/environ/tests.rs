use std::path::PathBuf;

use super::*;
use crate::testing::{self, with_request};
use ironhorn_worker::Sender;

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
        let mut environs = Environs::new(py, &[local], header_map, &constants(py)).unwrap();
        with_request(wire, &peer, |request| check(environs.build(request, 5)));
    });
}

#[test]
fn what_came_encrypted_is_https() {
    Python::initialize();
    Python::attach(|py| {
        let mut environs = Environs::new(py, &[inet()], HeaderMap::Drop, &constants(py)).unwrap();
        with_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &peer(), |request| {
            for (secure, scheme) in [(true, "https"), (false, "http")] {
                let sender = Sender { secure, ..request.sender.clone() };
                let request = Request { sender: &sender, ..*request };
                let Ok(environ) = environs.build(&request, 0) else { panic!("no environ") };
                assert_eq!(get(&environ, "wsgi.url_scheme").as_deref(), Some(scheme));
            }
        });
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
        let mut environs = Environs::new(py, &[inet()], HeaderMap::Drop, &constants(py)).unwrap();
        let wire = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        with_request(wire, &peer(), |request| {
            let Ok(first) = environs.build(request, 0) else { panic!("no environ") };
            let Ok(second) = environs.build(request, 0) else { panic!("no environ") };
            testing::run_with(
                py,
                c"
import sys
first['mine'] = 1
assert 'mine' not in second
assert type(first) is dict and all(type(key) is str for key in first)
assert first['wsgi.version'] == (1, 0)
assert first['wsgi.multiprocess'] is True
assert first['wsgi.multithread'] is first['wsgi.run_once'] is False
assert first['wsgi.input_terminated'] is True
assert first['SERVER_SOFTWARE'].startswith('ironhorn/')
size = sys.getsizeof(second)
for number in range(18):
    second[f'HTTP_{number}'] = ''
assert sys.getsizeof(second) == size, 'rehashed'
",
                &[("first", first.as_any()), ("second", second.as_any())],
            );
        });
    });
}
