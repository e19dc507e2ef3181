"""What is refused, with which status, and that the client learns of it (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import Server, Stage, request
from harness.wire import chunked

CORPUS = Path(__file__).parent.parent / "requests" / "invalid"
HOST = b"Host: test.example\r\n"
POST = b"POST /echo HTTP/1.1\r\n" + HOST
CODED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return shared_stage.serve()


def only_here(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.differs(reason)


REFUSED = {
    "length and coding": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "differing lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "differing lengths in a list": (POST + b"Content-Length: 3, 4\r\n\r\nabcd", 400),
    "signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "negative length": (POST + b"Content-Length: -3\r\n\r\nabc", 400),
    "hexadecimal length": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "empty length": (POST + b"Content-Length:\r\n\r\nabc", 400),
    "underscore in a length": (POST + b"Content-Length: 1_0\r\n\r\n0123456789", 400),
    "length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "unknown coding": (POST + b"Transfer-Encoding: cow\r\n\r\n", 501),
    "gzip before chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "coding in HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : test.example\r\n\r\n", 400),
    "folded field": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\r\n b\r\n\r\n", 400),
    "space before the first field": (b"GET / HTTP/1.1\r\n Host: test.example\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: test.example\n\n", 400),
    "one bare LF": (b"GET / HTTP/1.1\r\nHost: test.example\nX-A: a\r\n\r\n", 400),
    "bare CR in a field": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n", 400),
    "NUL in a field": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\0b\r\n\r\n", 400),
    "control in a field": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x07b\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A\r\n\r\n", 400),
    "empty name": (b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", 400),
    "bad token as a name": (b"GET / HTTP/1.1\r\n" + HOST + b"X(A): a\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "bad method": (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "control in the target": (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no version": (b"GET /\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "version in lower case": (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "two empty lines first": (b"\r\n\r\n" + request("GET", "/"), 400),
    "chunk size with a sign": (CODED + b"+3\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size with a space before": (CODED + b" 3\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size in 0x": (CODED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    "no chunk size": (CODED + b"\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size beyond 64 bits": (CODED + b"fffffffffffffffff\r\nabc", 400),
    "chunk longer than its size": (CODED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    "chunk size ended by LF": (CODED + b"3\nabc\r\n0\r\n\r\n", 400),
    "chunk ended by LF": (CODED + b"3\r\nabc\n0\r\n\r\n", 400),
    "bare CR in an extension": (CODED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400),
    "bad trailer": (CODED + b"3\r\nabc\r\n0\r\nno colon\r\n\r\n", 400),
    "folded trailer": (CODED + b"3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n", 400),
}
DIFFERS = {
    "gzip before chunked": "takes codings that it does not undo",
    "no host": "serves HTTP/1.1 without a Host",
    "length beyond 64 bits": "waits for as many bytes",
    "chunk size beyond 64 bits": "waits for as many bytes",
    "HTTP/2.0": "answers 400",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=only_here(DIFFERS[name]) if name in DIFFERS else [])
        for name in REFUSED
    ],
)
def test_refused(server: Server, name: str) -> None:
    """The whole answer arrives, the connection closes, and what follows on it is no request any
    more.
    """
    sent, status = REFUSED[name]
    with server.connect(4.0) as wire:
        wire.send(sent + request("GET", "/status?299"))
        response = wire.read_response()
        assert (response.status, response.closes) == (status, True)
        assert response.reason != "Some Reason"
        assert wire.read_to_end() == b""


@pytest.mark.ironhorn("the corpus follows our rules, not Gunicorn's")
@pytest.mark.parametrize("half_close", [False, True])
def test_the_corpus_of_invalid_requests(server: Server, half_close: bool) -> None:
    """The files that the protocol's own tests read, over the wire: each ends in its refusal."""
    wrong = {}
    for path in sorted(CORPUS.glob("*.http")):
        expectation = path.with_suffix(".expect").read_text()
        (status,) = re.findall(r"^refusal: \w+ (\d+)$", expectation, re.MULTILINE)
        if expectation.startswith("limit-"):
            continue
        with server.connect(4.0) as wire:
            wire.send_what_fits(path.read_bytes())
            if half_close:
                wire.half_close()
            answers = re.findall(rb"HTTP/1\.1 (\d+) ", wire.read_to_end())
        if not answers or answers[-1].decode() != status:
            wrong[path.name] = (answers, status)
    assert not wrong


@pytest.mark.ironhorn("Gunicorn has no body limit")
def test_an_announced_body_over_the_limit(stage: Stage) -> None:
    server = stage.serve(limit_request_body=1000)
    with server.connect() as wire:
        assert (
            wire.send(request("POST", "/echo", body=b"x" * 1000)).read_response().body
            == b"x" * 1000
        )
        assert (
            wire.send(request("POST", "/echo", "Content-Length: 1001")).read_response().status
            == 413
        )


@pytest.mark.ironhorn("Gunicorn has no body limit")
def test_a_chunked_body_over_the_limit(stage: Stage) -> None:
    server = stage.serve(limit_request_body=1000)
    with server.connect() as wire:
        wire.send(
            request("POST", "/echo", "Transfer-Encoding: chunked") + chunked(b"x" * 600, b"x" * 600)
        )
        assert wire.read_response().status == 413


@pytest.mark.ironhorn("Gunicorn has no body limit")
def test_413_instead_of_100(stage: Stage) -> None:
    server = stage.serve(limit_request_body=10)
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 11", "Expect: 100-continue"))
        response = wire.read_response()
        assert (response.status, response.interim) == (413, [])


@pytest.mark.ironhorn("Gunicorn has no body limit")
def test_an_error_is_not_lost_to_a_reset(stage: Stage) -> None:
    """The server lingers: a client that is still sending reads the answer, not ECONNRESET (RFC 9112
    9.6).
    """
    server = stage.serve(limit_request_body=10)
    for _ in range(10):
        with server.connect() as wire:
            wire.send(request("POST", "/echo", f"Content-Length: {1 << 20}"))
            wire.send_what_fits(b"x" * (1 << 20))
            assert wire.read_response().status == 413


@pytest.mark.differs("its limit of the request line is 4094, and its reason another")
def test_the_request_line_limit(server: Server) -> None:
    fits = "/hello?" + "a" * (8190 - len("GET /hello? HTTP/1.1"))
    with server.connect() as wire:
        assert wire.get(fits).read_response().status == 200
        assert wire.get(fits + "aaa").read_response().status == 414


def test_an_endless_request_line_is_refused_before_its_end(server: Server) -> None:
    with server.connect() as wire:
        wire.send_what_fits(b"GET /" + b"a" * 100_000)
        assert wire.read_response().status == 414


def test_too_many_fields(server: Server) -> None:
    with server.connect() as wire:
        assert wire.get("/hello", *[f"X-{n}: a" for n in range(99)]).read_response().status == 200
        assert wire.get("/hello", *[f"X-{n}: a" for n in range(100)]).read_response().status == 431


def test_a_field_too_long(server: Server) -> None:
    with server.connect() as wire:
        assert wire.get("/hello", "X-A: " + "a" * 8100).read_response().status == 200
        assert wire.get("/hello", "X-A: " + "a" * 8200).read_response().status == 431


@pytest.mark.ironhorn("Gunicorn's total is the product of its other limits")
def test_a_head_too_long_in_all(server: Server) -> None:
    with server.connect() as wire:
        wire.send_what_fits(request("GET", "/hello", *[f"X-{n}: {'a' * 8000}" for n in range(9)]))
        assert wire.read_response().status == 431


def test_limits_are_settings(stage: Stage) -> None:
    server = stage.serve(limit_request_line=100, limit_request_fields=5)
    with server.connect() as wire:
        assert wire.get("/" + "a" * 100).read_response().status == 414
    with server.connect() as wire:
        assert wire.get("/", *[f"X-{n}: a" for n in range(6)]).read_response().status == 431
