//! Apps from strings, called through the gateway; PEP 3333 clause by clause.

use std::ffi::CString;

use ironhorn_unix::{Board, Peer};
use ironhorn_worker::Stream;
use pyo3::types::PyDict;

use super::*;
use crate::testing::{self, FakeExchange, log_of, with_request};

const GET: &[u8] = b"GET /some/path?secret HTTP/1.1\r\nHost: h\r\n\r\n";

/// One worker with one app.
struct Bench<'py> {
    gateway: Gateway<'py>,
    /// Of the app's code, where it leaves marks.
    globals: Bound<'py, PyDict>,
    exchange: FakeExchange,
}

/// How a request ended, as the worker sees it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    kind: &'static str,
    /// The head that was handed over; empty if none.
    head: String,
    chunks: Vec<String>,
}

impl<'py> Bench<'py> {
    fn new(py: Python<'py>, code: &str) -> Self {
        let code = CString::new(code).unwrap();
        let globals = testing::run_with(py, &code, &[]);
        let app = globals.get_item("app").unwrap().unwrap();
        let gateway = Gateway::new(py, app, &options(HeaderMap::Drop)).unwrap();
        Self { gateway, globals, exchange: FakeExchange::default() }
    }

    fn call(&mut self, wire: &[u8], body: Body) -> Reply<Chunk<'py>, ResponseBody<'py>> {
        let peer = Peer::Inet("127.0.0.1:1".parse().unwrap());
        let (gateway, exchange) = (&mut self.gateway, &mut self.exchange);
        with_request(wire, &peer, |request| gateway.call(request, body, exchange))
    }

    /// Does with a request what a worker does.
    fn serve(&mut self, wire: &[u8], body: Body) -> Outcome {
        self.exchange = FakeExchange { gone: self.exchange.gone, ..FakeExchange::default() };
        let (kind, chunks) = match self.call(wire, body) {
            Reply::Complete(Chunks::None) => ("complete", vec![]),
            Reply::Complete(Chunks::One(chunk)) => ("complete", vec![text(&chunk)]),
            Reply::Complete(Chunks::Many(chunks)) => {
                ("complete", chunks.iter().map(text).collect())
            }
            Reply::Stream { first, mut rest } => {
                let mut chunks: Vec<_> = first.iter().map(text).collect();
                let kind = loop {
                    match rest.next(&mut self.exchange) {
                        Ok(Some(chunk)) => chunks.push(text(&chunk)),
                        Ok(None) => break "stream",
                        Err(_) => break "cut",
                    }
                };
                (kind, chunks)
            }
            Reply::File { offset, length, .. } => {
                ("file", vec![offset.to_string(), length.to_string()])
            }
            Reply::Failed => ("failed", vec![]),
        };
        let head = String::from_utf8_lossy(self.exchange.head.bytes()).into_owned();
        Outcome { kind, head, chunks }
    }

    fn get(&mut self) -> Outcome {
        self.serve(GET, Body::Empty)
    }

    fn mark(&self, name: &str) -> String {
        self.globals.get_item(name).unwrap().unwrap().to_string()
    }
}

fn options(header_map: HeaderMap) -> GatewayOptions {
    GatewayOptions {
        multiprocess: false,
        multithread: false,
        header_map,
        visible: Visible::default(),
        listeners: vec![Local::Inet("127.0.0.1:80".parse().unwrap())],
        lane: Board::new(1).unwrap().slot(1).lane(0),
    }
}

fn text(chunk: &Chunk<'_>) -> String {
    String::from_utf8_lossy(chunk.as_ref()).into_owned()
}

/// Calls an app once and expects nothing in the log.
#[track_caller]
fn quiet(code: &str) -> (Outcome, FakeExchange) {
    let mut result = None;
    let log = log_of(|py| {
        let mut bench = Bench::new(py, code);
        let outcome = bench.get();
        result = Some((outcome, bench.exchange));
    });
    assert_eq!(log, [] as [&str; 0]);
    result.unwrap()
}

/// Calls an app once; returns how it went and the last line of the only record.
#[track_caller]
fn logged(code: &str) -> (Outcome, String) {
    let mut result = None;
    let log = log_of(|py| result = Some(Bench::new(py, code).get()));
    let [record] = &log[..] else { panic!("not one record: {log:#?}") };
    assert!(record.starts_with("app failed\n"), "{record}");
    (result.unwrap(), record.lines().last().unwrap().to_owned())
}

fn outcome(kind: &'static str, head: &str, chunks: &[&str]) -> Outcome {
    let chunks = chunks.iter().map(|&chunk| chunk.to_owned()).collect();
    Outcome { kind, head: head.to_owned(), chunks }
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn lists_and_tuples_are_known_as_a_whole() {
    for (returned, chunks) in [
        ("[b'one']", &["one"][..]),
        ("(b'one',)", &["one"]),
        ("[b'', b'one', b'', b'two', b'three']", &["one", "two", "three"]),
        ("[]", &[]),
        ("[b'']", &[]),
    ] {
        let (found, _) = quiet(&format!(
            "
def app(environ, start_response):
    start_response('200 OK', [('X-A', '\\xe9'), ('Content-Length', '3')])
    return {returned}
"
        ));
        let head = "HTTP/1.1 200 OK\r\nX-A: \u{fffd}\r\nContent-Length: 3\r\n";
        assert_eq!(found, outcome("complete", head, chunks));
    }
}

#[test]
fn a_generator_streams_and_may_start_late() {
    let (found, _) = quiet(
        "
def app(environ, start_response):
    yield b''
    start_response('200 OK', [])
    yield b''
    yield b'one'
    yield b''
    yield b'two'
",
    );
    assert_eq!(found, outcome("stream", OK, &["one", "two"]));
}

#[test]
fn an_empty_iterable_has_a_head() {
    let (found, _) = quiet(
        "
def app(environ, start_response):
    start_response('200 OK', [])
    return iter(())
",
    );
    assert_eq!(found, outcome("stream", OK, &[]));
}

const CLOSING: &str = "
closed = 0
class Body:
    def __init__(self, chunks): self.chunks = iter(chunks)
    def __iter__(self): return self
    def __next__(self): return next(self.chunks)
    def close(self):
        global closed
        closed += 1
def fails():
    yield b'one'
    1 / 0
";

#[test]
fn close_is_called_exactly_once() {
    for (body, kind) in [
        ("Body([b'one', b'two'])", "stream"),
        ("Body([])", "stream"),
        ("Body(fails())", "cut"),
        ("Body(['str'])", "failed"),
        ("Body(1 for _ in (1,))", "failed"),
    ] {
        log_of(|py| {
            let mut bench = Bench::new(
                py,
                &format!(
                    "{CLOSING}
def app(environ, start_response):
    start_response('200 OK', [])
    return {body}
"
                ),
            );
            assert_eq!(bench.get().kind, kind, "{body}");
            assert_eq!(bench.mark("closed"), "1", "{body}");
        });
    }
}

#[test]
fn close_is_called_when_the_client_leaves_and_when_nobody_started() {
    log_of(|py| {
        let code = format!(
            "{CLOSING}
def app(environ, start_response):
    start_response('200 OK', [])
    return Body([b'one', b'two'])
"
        );
        let mut bench = Bench::new(py, &code);
        drop(bench.call(GET, Body::Empty));
        assert_eq!(bench.mark("closed"), "1");

        let Reply::Stream { mut rest, .. } = bench.call(GET, Body::Empty) else {
            panic!("no stream")
        };
        rest.close();
        rest.close();
        drop(rest);
        assert_eq!(bench.mark("closed"), "2");

        let code = format!("{CLOSING}\ndef app(environ, start_response): return Body([b'one'])\n");
        let mut bench = Bench::new(py, &code);
        assert_eq!(bench.get(), outcome("failed", "", &[]));
        assert_eq!(bench.mark("closed"), "1");
    });
}

#[test]
fn an_exception_from_close_is_logged() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
class Body(list):
    def close(self): 1 / 0
def app(environ, start_response):
    start_response('200 OK', [])
    return Body([b'one'])
",
        );
        assert_eq!(bench.get(), outcome("stream", OK, &["one"]));
    });
    assert!(log[0].starts_with("close() failed\nTraceback"), "{log:?}");
    assert_eq!(log.len(), 1);
}

#[test]
fn what_an_app_must_not_return() {
    for (body, last_line) in [
        (
            "return None",
            "TypeError: the app returned NoneType, not an iterable of bytes such as [b\"...\"]",
        ),
        (
            "return b'one'",
            "TypeError: the app returned bytes, not an iterable of bytes such as [b\"...\"]",
        ),
        (
            "return 'one'",
            "TypeError: the app returned str, not an iterable of bytes such as [b\"...\"]",
        ),
        ("return 1", "TypeError: 'int' object is not iterable"),
        ("return ['one']", "TypeError: a response body is made of bytes, not str"),
        (
            "return [b'one', bytearray(b'two')]",
            "TypeError: a response body is made of bytes, not bytearray",
        ),
        ("return iter([1])", "TypeError: a response body is made of bytes, not int"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ] {
        let (found, record) = logged(&format!(
            "
def app(environ, start_response):
    start_response('200 OK', [])
    {body}
"
        ));
        assert_eq!(found, outcome("failed", "", &[]), "{body}");
        assert_eq!(record, last_line);
    }
}

#[test]
fn start_response_has_to_be_called() {
    for body in ["return []", "return [b'one']", "return iter([])", "return iter([b'one'])"] {
        let (found, record) = logged(&format!("def app(environ, start_response):\n    {body}\n"));
        assert_eq!(found, outcome("failed", "", &[]), "{body}");
        assert_eq!(record, "AssertionError: the app didn't call start_response");
    }
}

#[test]
fn start_response_checks_what_it_gets() {
    for (call, error) in [
        ("'200', []", "ValueError: start_response: "),
        ("'200 OK\\r\\nX: y', []", "ValueError: start_response: "),
        ("'99 Low', []", "ValueError: start_response: "),
        ("'100 Continue', []", "ValueError: start_response: "),
        ("b'200 OK', []", "TypeError: start_response takes the status as str, not bytes"),
        ("'200 \\u20ac', []", "ValueError: the status is not latin-1"),
        ("'200 \\ud800', []", "ValueError: the status is not latin-1"),
        ("'200 OK', [('a b', 'c')]", "ValueError: start_response: "),
        ("'200 OK', [('', 'c')]", "ValueError: start_response: "),
        ("'200 OK', [('A', 'b\\r\\nc: d')]", "ValueError: start_response: "),
        ("'200 OK', [('A', 'b\\x00')]", "ValueError: start_response: "),
        ("'200 OK', [('A', '\\u20ac')]", "ValueError: a header value is not latin-1"),
        ("'200 OK', [('\\u20ac', 'a')]", "ValueError: a header name is not latin-1"),
        ("'200 OK', [('A', 1)]", "TypeError: a header is a tuple of two str, not int"),
        ("'200 OK', [(b'A', 'b')]", "TypeError: a header is a tuple of two str, not bytes"),
        ("'200 OK', [('A', 'b', 'c')]", "TypeError: a header is a tuple of two str, not tuple"),
        ("'200 OK', ['AB']", "TypeError: a header is a tuple of two str, not str"),
        ("'200 OK', 1", "TypeError: 'int' object is not iterable"),
        ("'200 OK', [('Connection', 'close')]", "ValueError: start_response: "),
        ("'200 OK', [('Transfer-Encoding', 'chunked')]", "ValueError: start_response: "),
        ("'200 OK', [('Content-Length', '1'), ('Content-Length', '2')]", "ValueError: "),
        ("'200 OK', [('Content-Length', '-1')]", "ValueError: start_response: "),
        ("'200 OK'", "TypeError: Exchange.start_response() missing 1 required"),
    ] {
        let (found, record) = logged(&format!(
            "
def app(environ, start_response):
    start_response({call})
    return []
"
        ));
        assert_eq!(found, outcome("failed", "", &[]), "{call}");
        assert!(record.starts_with(error), "{call}: {record}");
    }
}

#[test]
fn a_str_that_talks_back_is_not_asked() {
    let (_, record) = logged(
        "
class Status(str):
    def __str__(self): start('200 OK', []); return 'again'
    __repr__ = __str__
def app(environ, start_response):
    global start
    start = start_response
    start_response(Status('wrong'), [])
",
    );
    assert!(record.starts_with("ValueError: start_response: "), "{record}");
    assert!(record.ends_with("\"wrong\""), "{record}");
}

#[test]
fn a_refused_head_leaves_none_behind() {
    let (found, _) = quiet(
        "
def app(environ, start_response):
    try:
        start_response('201 Created', [('A', 'b'), ('C', 1)])
    except TypeError:
        pass
    start_response('200 OK', {'D': 'e'}.items())
    return []
",
    );
    assert_eq!(found, outcome("complete", "HTTP/1.1 200 OK\r\nD: e\r\n", &[]));
}

#[test]
fn start_response_again_only_with_exc_info() {
    let (_, record) = logged(
        "
def app(environ, start_response):
    start_response('200 OK', [])
    start_response('200 OK', [])
",
    );
    assert!(record.starts_with("AssertionError: start_response was called already"), "{record}");

    let (found, _) = quiet(
        "
import sys
def app(environ, start_response):
    start_response('200 OK', [('A', 'b')])
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('500 Oops', [('C', 'd')], sys.exc_info())
    return [b'sorry']
",
    );
    assert_eq!(found, outcome("complete", "HTTP/1.1 500 Oops\r\nC: d\r\n", &["sorry"]));
}

#[test]
fn exc_info_is_raised_again_once_the_head_is_sent() {
    let (found, record) = logged(
        "
import sys
def app(environ, start_response):
    start_response('200 OK', [])
    yield b'one'
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('500 Oops', [], sys.exc_info())
    yield b'two'
",
    );
    assert_eq!(found, outcome("cut", OK, &["one"]));
    assert_eq!(record, "ZeroDivisionError: division by zero");
}

#[test]
fn write_sends_the_head_with_the_first_byte() {
    let (found, exchange) = quiet(
        "
def app(environ, start_response):
    write = start_response('200 OK', [])
    assert write(b'') is None
    start_response('201 Made', [], (None, None, None))
    assert write(b'one') is None
    write(b'two')
    return [b'three']
",
    );
    assert_eq!(found, outcome("complete", "HTTP/1.1 201 Made\r\n", &["three"]));
    assert_eq!(exchange.written, b"onetwo");
}

#[test]
fn write_takes_bytes_on_the_apps_own_thread() {
    quiet(
        "
import threading
def app(environ, start_response):
    write = start_response('200 OK', [])
    raised = []
    def attempt(data):
        try:
            write(data)
        except Exception as error:
            raised.append(str(error))
    attempt('str')
    thread = threading.Thread(target=attempt, args=[b'bytes'])
    thread.start()
    thread.join()
    assert raised == [
        'write() takes bytes, not str',
        'write() works on the thread that runs the app, while it runs it',
    ], raised
    return []
",
    );
}

#[test]
fn a_client_that_leaves_is_no_error_of_the_apps() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
raised = None
def app(environ, start_response):
    write = start_response('200 OK', [])
    try:
        write(b'one')
    except ConnectionError as error:
        global raised
        raised = type(error).__name__
        raise
",
        );
        bench.exchange.gone = true;
        assert_eq!(bench.get().kind, "failed");
        assert_eq!(bench.mark("raised"), "ConnectionAbortedError");
    });
    assert_eq!(log, [] as [&str; 0]);
}

#[test]
fn early_hints_are_sent_until_the_head_is() {
    let (found, exchange) = quiet(
        "
def app(environ, start_response):
    hints = environ['wsgi.early_hints']
    hints([('Link', '</a>; rel=preload')])
    for wrong in [('A', 'b\\n')], [('Connection', 'close')], [('A', 1)], 1:
        try:
            hints(wrong)
        except (TypeError, ValueError):
            pass
        else:
            raise AssertionError(wrong)
    write = start_response('200 OK', [])
    write(b'one')
    hints([('Link', '</late>')])
    return []
",
    );
    assert_eq!(found.kind, "complete");
    let link = (b"Link".to_vec(), b"</a>; rel=preload".to_vec());
    assert_eq!(exchange.interims, [(103, vec![link])]);
}

#[test]
fn a_real_file_is_sent_by_the_kernel_and_closed() {
    let (found, _) = quiet(
        "
import os, tempfile
def app(environ, start_response):
    start_response('200 OK', [])
    file = tempfile.TemporaryFile()
    file.write(b'0123456789')
    file.seek(4)
    return environ['wsgi.file_wrapper'](file)
",
    );
    assert_eq!(found, outcome("file", OK, &["4", "6"]));
    let (found, _) = quiet(
        "
import io
def app(environ, start_response):
    start_response('200 OK', [])
    return environ['wsgi.file_wrapper'](io.BytesIO(b'12345'), 2)
",
    );
    assert_eq!(found, outcome("stream", OK, &["12", "34", "5"]));
    let (_, record) = logged(
        "
def app(environ, start_response):
    return environ['wsgi.file_wrapper'](open('/etc/hostname', 'rb'))
",
    );
    assert_eq!(record, "AssertionError: the app didn't call start_response");
}

#[test]
fn the_body_is_there_and_a_spooled_one_ends_with_the_request() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
kept = None
def app(environ, start_response):
    global kept
    kept = environ['wsgi.input']
    start_response('200 OK', [])
    return [kept.read(int(environ.get('CONTENT_LENGTH', 0)))]
",
        );
        assert_eq!(bench.get().chunks, [] as [&str; 0]);
        let post = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let outcome = bench.serve(post, Body::Memory(b"in memory".to_vec()));
        assert_eq!(outcome.chunks, ["in memory"]);

        let path = std::env::temp_dir().join(format!("ironhorn-body-{}", std::process::id()));
        std::fs::write(&path, "spooled").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bench.serve(post, Body::File { file, length: 7 }).chunks, ["spooled"]);
        let closed = bench.globals.get_item("kept").unwrap().unwrap().getattr("closed").unwrap();
        assert!(closed.is_truthy().unwrap());
    });
    assert_eq!(log, [] as [&str; 0]);
}

#[test]
fn the_access_log_learns_what_the_app_added() {
    log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
def app(environ, start_response):
    environ['REMOTE_USER'] = 'me'
    start_response('200 OK', [])
    return []
",
        );
        bench.exchange.atoms = ["REMOTE_USER", "MISSING", "wsgi.version"].map(String::from).into();
        drop(bench.call(GET, Body::Empty));
        let expected = [(0, b"me".to_vec()), (2, b"(1, 0)".to_vec())];
        assert_eq!(bench.exchange.atom_values, expected);
    });
}

#[test]
fn wsgiref_validates_it() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
from wsgiref.validate import validator
@validator
def app(environ, start_response):
    size = int(environ.get('CONTENT_LENGTH') or 0)
    body = environ['wsgi.input'].read(size) + environ['wsgi.input'].readline()
    print('noted', file=environ['wsgi.errors'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body]
",
        );
        assert_eq!(bench.get().kind, "stream");
        let post = b"POST /%E9?q HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(bench.serve(post, Body::Memory(b"body".to_vec())).chunks, ["body"]);
    });
    assert_eq!(log, ["noted", "noted"]);
}

#[test]
fn requests_may_overlap() {
    log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
def app(environ, start_response):
    start_response('200 ' + environ['PATH_INFO'], [])
    yield b'one'
    yield environ['PATH_INFO'].encode()
",
        );
        let mut streams = Vec::new();
        for path in ["/a", "/b", "/c"] {
            let wire = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            let Reply::Stream { rest, .. } = bench.call(wire.as_bytes(), Body::Empty) else {
                panic!("no stream")
            };
            let head = String::from_utf8_lossy(bench.exchange.head.bytes()).into_owned();
            assert_eq!(head, format!("HTTP/1.1 200 {path}\r\n"));
            streams.push((path, rest));
        }
        for (path, rest) in &mut streams {
            let chunk = rest.next(&mut bench.exchange).unwrap().unwrap();
            assert_eq!(text(&chunk), *path);
            assert!(rest.next(&mut bench.exchange).unwrap().is_none());
        }
    });
}

#[test]
fn slots_are_used_again_by_apps_that_let_go() {
    log_of(|py| {
        for (code, idle) in [
            ("def app(e, s): s('200 OK', []); return [b'one']", 1),
            ("def app(e, s):\n    s('200 OK', [])\n    yield b'one'", 1),
            ("def app(e, s): s('200 OK', [])(b'one'); return []", 1),
            ("def app(e, s): 1 / 0", 1),
            ("kept = []\ndef app(e, s): s('200 OK', []); kept.append(e); return []", 0),
            ("kept = []\ndef app(e, s): kept.append(s('200 OK', [])); return []", 0),
        ] {
            let mut bench = Bench::new(py, code);
            for _ in 0..3 {
                bench.get();
                assert_eq!(bench.gateway.slots.idle(), idle, "{code}");
            }
        }
    });
}

#[test]
fn what_an_app_keeps_is_of_no_use_later() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "
kept = []
def app(environ, start_response):
    for late, args in kept:
        try:
            late(*args)
        except RuntimeError as error:
            assert str(error).endswith('called after the end of its request')
        else:
            raise AssertionError(late)
    write = start_response('200 OK', [])
    kept[:] = [(start_response, ('200 OK', [])), (write, (b'late',))]
    kept.append((environ['wsgi.early_hints'], ([],)))
    return []
",
        );
        assert_eq!(bench.get(), outcome("complete", OK, &[]));
        assert_eq!(bench.get(), outcome("complete", OK, &[]));
    });
    assert_eq!(log, [] as [&str; 0]);
}

#[test]
fn the_gateway_waits_and_the_collector_rests() {
    let log = log_of(|py| {
        let mut bench = Bench::new(py, "def app(environ, start_response): pass");
        bench.gateway.interrupted();
        assert_eq!(bench.gateway.while_idle(|| 7), 7);
        freeze(py).unwrap();
    });
    assert_eq!(log, [] as [&str; 0]);
}

#[test]
fn underscores_can_be_refused() {
    log_of(|py| {
        let mut bench = Bench::new(py, "def app(environ, start_response): 1 / 0");
        let app = bench.globals.get_item("app").unwrap().unwrap();
        bench.gateway = Gateway::new(py, app, &options(HeaderMap::Refuse)).unwrap();
        let wire = b"GET / HTTP/1.1\r\nHost: h\r\nA_B: c\r\n\r\n";
        let found = bench.serve(wire, Body::Empty);
        assert_eq!(found, outcome("complete", "HTTP/1.1 400 Bad Request\r\n", &[]));
    });
}

#[test]
fn apps_are_mounted_under_prefixes() {
    let log = log_of(|py| {
        let mut bench = Bench::new(
            py,
            "def named(name):
    def app(environ, start_response):
        start_response('200 OK', [])
        return [f\"{name} {environ['SCRIPT_NAME']} {environ['PATH_INFO']}\".encode('latin-1')]
    return app
app, api, shop = named('app'), named('api'), named('shop')",
        );
        let app = |name: &str| bench.globals.get_item(name).unwrap().unwrap();
        let loaded = vec![("/shop".to_owned(), app("shop")), ("/shop/api".to_owned(), app("api"))];
        let apps = Apps::new(loaded).unwrap();
        bench.gateway = Gateway::new(py, apps, &options(HeaderMap::Drop)).unwrap();
        let mut get = |path: &str| {
            bench.serve(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), Body::Empty)
        };
        let ok = |text: &str| outcome("complete", "HTTP/1.1 200 OK\r\n", &[text]);
        assert_eq!(get("/shop"), ok("shop /shop "));
        assert_eq!(get("/shop/api/%C3%A9?q"), ok("api /shop/api /é"));
        assert_eq!(get("/shop/apis"), ok("shop /shop /apis"));
        let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n";
        assert_eq!(get("/shops"), outcome("complete", head, &["Not Found\n"]));
    });
    assert_eq!(log, [] as [&str; 0]);
}
