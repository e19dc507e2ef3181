"""Requests with bodies, and the framing of responses (RFC 9110, RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from harness import Server, Stage, request
from harness.wire import chunked


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return shared_stage.serve()


def environ(server: Server, target: str, *fields: str) -> dict[str, object]:
    with server.connect() as wire:
        return json.loads(wire.get(target, *fields).read_response().body)


def test_head_has_the_fields_but_no_body(server: Server) -> None:
    with server.connect() as wire:
        head = wire.send(request("HEAD", "/hello")).read_response("HEAD")
        assert head.get("Content-Length") == "6"
        assert wire.get("/hello").read_response().body == b"hello\n"


def test_head_of_a_stream_sends_no_chunk(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("HEAD", "/chunks?3")).read_response("HEAD")
        assert wire.get("/hello").read_response().body == b"hello\n"


@pytest.mark.parametrize("code", ["204", "304"])
def test_a_status_without_a_body(server: Server, code: str) -> None:
    with server.connect() as wire:
        response = wire.get(f"/status?{code}").read_response()
        assert response.status == int(code)
        assert response.get("X-App") == "yes"
        assert response.get("Transfer-Encoding") is None
        assert wire.get("/hello").read_response().body == b"hello\n"


@pytest.mark.parametrize(
    "code", ["200", "201", "206", "299", "301", "400", "404", "418", "451", "500", "503", "599"]
)
def test_a_status_of_the_app(server: Server, code: str) -> None:
    with server.connect() as wire:
        response = wire.get(f"/status?{code}").read_response()
        assert (response.status, response.reason, response.body) == (
            int(code),
            "Some Reason",
            b"body\n",
        )


def test_every_response_has_a_date(server: Server) -> None:
    date = server.get("/hello").get("Date")
    assert date is not None
    assert re.fullmatch(
        r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date
    )


def test_unknown_length_is_chunked(server: Server) -> None:
    with server.connect() as wire:
        response = wire.get("/chunks?3").read_response()
        assert response.framing == "chunked"
        assert response.body == b"chunk 0\nchunk 1\nchunk 2\n"
        assert wire.get("/hello").read_response().body == b"hello\n"


def test_an_empty_stream(server: Server) -> None:
    with server.connect() as wire:
        assert wire.get("/chunks?0").read_response().body == b""
        assert wire.get("/hello").read_response().body == b"hello\n"


def test_chunked_request(server: Server) -> None:
    with server.connect() as wire:
        wire.send(
            request("POST", "/echo", "Transfer-Encoding: chunked")
            + chunked(b"one ", b"two ", b"three")
        )
        assert wire.read_response().body == b"one two three"


def test_chunked_request_with_trailers_and_then_another(server: Server) -> None:
    body = b"3\r\nabc\r\n0\r\nX-Trailer: yes\r\n\r\n"
    with server.connect() as wire:
        wire.send(
            request("POST", "/echo", "Transfer-Encoding: chunked") + body + request("GET", "/hello")
        )
        assert wire.read_response().body == b"abc"
        assert wire.read_response().body == b"hello\n"


def test_chunk_sizes_in_either_case_and_with_zeros(server: Server) -> None:
    body = b"00A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n"
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Transfer-Encoding: Chunked") + body)
        assert wire.read_response().body == b"01234567890123456789a"


def test_chunked_request_in_pieces(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Transfer-Encoding: chunked"))
        for byte in chunked(b"piece", b"by", b"piece"):
            wire.send(bytes([byte]))
        assert wire.read_response().body == b"piecebypiece"


def test_a_megabyte_each_way(server: Server) -> None:
    body = bytes(range(256)) * 4096
    with server.connect() as wire:
        for _ in range(2):
            assert wire.send(request("POST", "/echo", body=body)).read_response().body == body


def test_a_big_upload_in_chunks(server: Server) -> None:
    piece = bytes(range(256)) * 256
    with server.connect() as wire:
        wire.send(
            request("POST", "/digest", "Transfer-Encoding: chunked") + chunked(*[piece] * 80), 30
        )
        expected = f"{len(piece) * 80} {hashlib.sha256(piece * 80).hexdigest()}"
        assert wire.read_response(deadline=30).body.decode() == expected


@pytest.mark.parametrize("size", [65_537, 300_000, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("piece", [10_000, 1 << 20], ids=["in pieces", "at once"])
def test_a_big_upload_and_what_follows_it(server: Server, size: int, piece: int) -> None:
    """What is received for the body ends where that does: the next request is behind it."""
    body = hashlib.shake_128(b"seed").digest(size)
    after = request("POST", "/echo", body=b"the next")
    sent = request("POST", "/digest", body=body) + after + after
    with server.connect() as wire:
        for at in range(0, len(sent), piece):
            wire.send(sent[at : at + piece], 30)
        expected = f"{size} {hashlib.sha256(body).hexdigest()}"
        assert wire.read_response(deadline=30).body.decode() == expected
        assert wire.read_response().body == wire.read_response().body == b"the next"


def test_an_empty_body(server: Server) -> None:
    with server.connect() as wire:
        assert wire.send(request("POST", "/echo", body=b"")).read_response().body == b""
        assert wire.send(request("POST", "/echo")).read_response().body == b""


def test_expect_100_continue(server: Server) -> None:
    """The 100 comes before the body is sent, the answer after it (RFC 9110 10.1.1)."""
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 4", "Expect: 100-continue"))
        assert wire.read_interim().status == 100
        assert wire.send(b"body").read_response().body == b"body"
        assert wire.get("/hello").read_response().body == b"hello\n"


def test_no_100_when_the_body_is_already_here(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Expect: 100-continue", body=b"body"))
        response = wire.read_response()
        assert response.body == b"body"
        assert [interim.status for interim in response.interim] in ([], [100])


def test_no_100_in_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        wire.send(
            request("POST", "/echo", "Expect: 100-continue", body=b"body", version="HTTP/1.0")
        )
        response = wire.read_response()
        assert (response.body, response.interim) == (b"body", [])


def test_another_expectation_is_refused(server: Server) -> None:
    with server.connect() as wire:
        assert (
            wire.send(request("POST", "/echo", "Expect: tea", body=b"x")).read_response().status
            == 417
        )


def test_the_target_reaches_the_app(server: Server) -> None:
    seen = environ(server, "/environ?a=%20b&c=/?")
    assert seen["PATH_INFO"] == "/environ"
    assert seen["QUERY_STRING"] == "a=%20b&c=/?"
    assert seen["RAW_URI"] == "/environ?a=%20b&c=/?"


@pytest.mark.differs("hands on the Host field")
def test_absolute_form_overrides_host(server: Server) -> None:
    """RFC 9112 3.2.2."""
    seen = environ(server, "http://other.example:81/environ?x", "Host: test.example")
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/environ", "x")
    assert seen["HTTP_HOST"] == "other.example:81"


def test_asterisk_form(server: Server) -> None:
    with server.connect() as wire:
        assert wire.send(request("OPTIONS", "*")).read_response().status == 404


def test_responses_are_not_marked_as_http_1_0(server: Server) -> None:
    assert server.get("/hello").version == b"1"


def test_fields_of_the_app_in_order(server: Server) -> None:
    response = server.get("/fields?X-One=1&X-Two=2&Set-Cookie=a&Set-Cookie=b")
    assert response.all("Set-Cookie") == ["a", "b"]
    names = [name for name, _ in response.fields if name.startswith("X-")]
    assert names == ["X-One", "X-Two"]


@pytest.mark.differs("drops the app's Date and Server and puts its own")
def test_date_and_server_of_the_app_replace_ours(server: Server) -> None:
    response = server.get("/fields?Date=Mon,+01+Jan+2024+00:00:00+GMT&Server=app")
    assert response.all("Date") == ["Mon, 01 Jan 2024 00:00:00 GMT"]
    assert response.all("Server") == ["app"]
