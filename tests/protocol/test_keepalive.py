"""Persistence, pipelining and closing of connections (RFC 9112 section 9)."""

from __future__ import annotations

import pytest
from harness import Server, Stage, Wire, request


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return shared_stage.serve()


def test_a_connection_is_kept(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            response = wire.get("/hello").read_response()
            assert (response.status, response.body) == (200, b"hello\n")
            assert not response.closes


def test_the_client_closes(server: Server) -> None:
    with server.connect() as wire:
        response = wire.get("/hello", "Connection: close").read_response()
        assert response.closes
        wire.wait_closed()


@pytest.mark.differs("compares the whole Connection value with 'close'")
def test_close_in_a_list_of_options(server: Server) -> None:
    with server.connect() as wire:
        assert wire.get("/hello", "Connection: foo, Close").read_response().closes
        wire.wait_closed()


@pytest.mark.differs("answers HTTP/1.0 in the version line")
def test_http_1_0_closes_by_default(server: Server) -> None:
    with server.connect() as wire:
        response = wire.send(request("GET", "/hello", version="HTTP/1.0")).read_response()
        assert response.version == b"1"
        assert response.body == b"hello\n"
        wire.wait_closed()


def test_http_1_0_keep_alive(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = wire.send(
                request("GET", "/hello", "Connection: keep-alive", version="HTTP/1.0")
            ).read_response()
            assert (response.get("Connection") or "").lower() == "keep-alive"
            assert response.body == b"hello\n"


def test_http_1_0_without_host(server: Server) -> None:
    with server.connect() as wire:
        assert wire.send(b"GET /hello HTTP/1.0\r\n\r\n").read_response().status == 200


def test_http_1_0_stream_ends_by_close(server: Server) -> None:
    """No chunked coding for a client that does not speak it (RFC 9112 6.1)."""
    with server.connect() as wire:
        wire.send(request("GET", "/chunks?3", "Connection: keep-alive", version="HTTP/1.0"))
        response = wire.read_response()
        assert response.framing == "close"
        assert response.body == b"chunk 0\nchunk 1\nchunk 2\n"
        assert (response.get("Connection") or "close").lower() == "close"


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"".join(request("GET", f"/big?{size}") for size in (1, 20000, 3, 40000, 5)))
        assert [len(wire.read_response().body) for _ in range(5)] == [1, 20000, 3, 40000, 5]


def test_pipelining_with_bodies(server: Server) -> None:
    with server.connect() as wire:
        wire.send(
            b"".join(request("POST", "/echo", body=b"body %d" % index) for index in range(20))
        )
        assert [wire.read_response().body for _ in range(20)] == [
            b"body %d" % index for index in range(20)
        ]


def test_pipelining_stops_at_close(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("GET", "/hello", "Connection: close") + request("GET", "/hello"))
        assert wire.read_response().closes
        wire.wait_closed()


def test_hundreds_of_pipelined_requests(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("GET", "/hello") * 300)
        assert all(wire.read_response().body == b"hello\n" for _ in range(300))


def test_a_body_that_the_app_did_not_read_is_no_request(server: Server) -> None:
    with server.connect() as wire:
        smuggled = request("GET", "/status?418")
        wire.send(request("POST", "/unread", body=smuggled) + request("GET", "/hello"))
        assert wire.read_response().body == b"not read\n"
        assert wire.read_response().body == b"hello\n"


def test_a_request_byte_by_byte(server: Server) -> None:
    with server.connect() as wire:
        for byte in request("POST", "/echo", body=b"slowly"):
            wire.send(bytes([byte]))
        assert wire.read_response().body == b"slowly"


def test_one_empty_line_before_the_request(server: Server) -> None:
    with server.connect() as wire:
        assert wire.send(b"\r\n" + request("GET", "/hello")).read_response().status == 200


def test_half_close_after_the_request(server: Server) -> None:
    """A client may end its direction and still wants the answer (RFC 9112 9.6)."""
    with server.connect() as wire:
        wire.get("/hello").half_close()
        assert wire.read_response().body == b"hello\n"
        wire.wait_closed(1.0)


@pytest.mark.differs("gives the app the short body")
def test_half_close_inside_the_body_runs_no_app(server: Server) -> None:
    """A body that ends before its Content-Length is no request (RFC 9112 8)."""
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 100") + b"only this").half_close()
        rest = wire.read_to_end()
        assert b" 200 " not in rest


def test_half_close_inside_the_head(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET /hello HTTP/1.1\r\nHost: x").half_close()
        assert b" 200 " not in wire.read_to_end()


def test_connecting_and_leaving(server: Server) -> None:
    for _ in range(20):
        Wire(server.address).close()
        Wire(server.address).reset()
    assert server.get("/hello").status == 200


@pytest.mark.ironhorn("its keep-alive time starts with the next poll")
def test_idle_keep_alive_is_closed(stage: Stage) -> None:
    server = stage.serve(keepalive=1)
    with server.connect() as wire:
        wire.get("/hello").read_response()
        assert wire.is_silent_for(0.8), "closed before the keep-alive time"
        wire.wait_closed(2.0)


def test_keep_alive_off(stage: Stage) -> None:
    server = stage.serve(keepalive=0)
    with server.connect() as wire:
        assert wire.get("/hello").read_response().closes
        wire.wait_closed()
