"""Floods of connections and of heads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from harness import Stage, Wire, request

from .watch import MEBI, Watch

pytestmark = [pytest.mark.ironhorn("no such promise"), pytest.mark.alone]

Crowd = Callable[..., list[Wire]]
HALF_A_HEAD = request("GET", "/", *[f"X-{nr}: {'a' * 8000}" for nr in range(7)])[:-2]
KIBI_A_CONNECTION = 128
"""Room for a head of 64 KiB, and as much again while its buffer grows."""


def wait_over(wires: list[Wire]) -> None:
    """Waits until the server has closed them all, with or without an answer."""
    for wire in wires:
        with suppress(ConnectionError):
            wire.read_to_end()


def test_half_sent_heads(stage: Stage, crowd: Crowd) -> None:
    """Slowloris: heads near their limit that never end, on 900 of 1000 connections."""
    server = stage.serve(header_timeout=4)
    with Watch(server, "900 heads of 56 KiB, half sent") as watch:
        clients = crowd(server, 900)
        for client in clients:
            client.send(HALF_A_HEAD)
        watch.wait_served(20)
        held = watch.peak
        wait_over(clients)
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert held - watch.before > 900 * 50 * 1024, "the heads didn't arrive"
    assert watch.grown() < 900 * KIBI_A_CONNECTION * 1024 + 8 * MEBI


def test_dripping_heads(stage: Stage, crowd: Crowd) -> None:
    """A byte now and then doesn't extend header_timeout."""
    server = stage.serve(header_timeout=2)
    with Watch(server, "300 heads, a byte at a time") as watch:
        clients = crowd(server, 300)
        for byte in b"GET / HTTP/1.1\r\nHost: a":
            for client in clients:
                client.send_what_fits(bytes([byte]))
            watch.wait_served(5)
        wait_over(clients)
    watch.assert_served(within=2)
    assert watch.grown() < 8 * MEBI


def test_silent_connections_beyond_the_limit(stage: Stage, crowd: Crowd) -> None:
    """Those that worker_connections has no room for wait in the kernel, as does everybody who comes
    after them, until header_timeout has made room.
    """
    server = stage.serve(worker_connections=100, header_timeout=1)
    with Watch(server, "350 connections that say nothing, room for 100") as watch:
        clients = crowd(server, 350)
        watch.wait_served(5)
        wait_over(clients)
    watch.assert_served(within=4 + 2)
    assert watch.grown() < 8 * MEBI


def test_reconnecting(stage: Stage) -> None:
    """5,000 connections one after another that are reset at once."""
    server = stage.serve()
    with Watch(server, "5,000 connections, reset at once") as watch:
        for _ in range(5000):
            server.connect().reset()
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert watch.grown() < 8 * MEBI


def test_too_many_fields(stage: Stage, crowd: Crowd) -> None:
    """100 fields of 8 KiB each are refused once they are more than 64 KiB, from everybody."""
    server = stage.serve()
    head = request("GET", "/", *[f"X-{nr}: {'a' * 8100}" for nr in range(100)])
    with Watch(server, "500 heads of 100 fields of 8 KiB") as watch:
        for client in crowd(server, 500):
            client.send_what_fits(head)
            assert client.read_response().status == 431
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert watch.grown() < 16 * MEBI


def test_one_endless_field(stage: Stage) -> None:
    """A field is refused at 8190 bytes; what still comes is thrown away, for a time."""
    server = stage.serve()
    with Watch(server, "a field of 64 MiB") as watch, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(64):
            if not client.send_what_fits(b"a" * MEBI):
                break
        assert client.read_response().status == 431
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert watch.grown() < 4 * MEBI


def test_pipelined_requests_without_reading(stage: Stage) -> None:
    """10,000 in one connection: the worker stops reading when the client does."""
    server = stage.serve("understood:app")
    count = 10_000
    with Watch(server, "10,000 pipelined requests, no answer read") as watch:
        with server.connect(receive_buffer=4096) as client:
            padding = "X: " + "a" * 1500  # More in all than the kernel's buffers take.
            waiting = b"".join(request("GET", f"/{nr}", padding) for nr in range(count))
            client.socket.setblocking(False)
            waiting = push(client, waiting)
            watch.wait_served(20)
            assert waiting, "the client was read from to the end"
            for nr in range(count):
                waiting = push(client, waiting)
                assert f'"target": "/{nr}"'.encode() in client.read_response().body
                client.socket.setblocking(False)
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert watch.grown() < 4 * MEBI


def push(client: Wire, data: bytes) -> bytes:
    """Sends what the socket takes, and gives what it doesn't."""
    while data:
        try:
            data = data[client.socket.send(data[: 1 << 16]) :]
        except BlockingIOError:
            return data
    return data
