"""A small client in Python: for the tests, for warming up, and for what wrk can't do.

It is no match for wrk: it says how long requests took, not how many a fast server can answer.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field

from .statistics import percentile

RECEIVE = 1 << 18
LOST = 5.0
"""Seconds without any answer after which a load ends."""
MOST = 1_000_000
"""Requests after which a load ends."""


@dataclass
class Measured:
    """What one load came to."""

    requests: int = 0
    seconds: float = 0.0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answered request."""

    def figures(self) -> dict[str, float]:
        """As the bench keeps them: times in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "rps": self.requests / self.seconds if self.seconds else 0.0,
            "p50": percentile(ordered, 0.5) * 1000,
            "p99": percentile(ordered, 0.99) * 1000,
            "p999": percentile(ordered, 0.999) * 1000,
        }


class Answer:
    """Takes the bytes of one response, and says when it is whole."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.left: int | None = None
        self.chunked = self.closes = False

    def take(self, data: bytes) -> bool:
        """More of it; empty at the end of the connection."""
        if not data:
            return self.closes and self.left is None and not self.chunked and bool(self.taken)
        if self.left is None and not self.chunked and not self.closes:
            self.taken += data
            end = self.taken.find(b"\r\n\r\n")
            if end < 0:
                return False
            self.read_head(bytes(self.taken[:end]).lower())
            data = bytes(self.taken[end + 4 :])
            self.taken = bytearray(b"-")
        if self.chunked:
            self.taken = (self.taken + data)[-7:]
            return self.taken.endswith(b"0\r\n\r\n")
        if self.left is not None:
            self.left -= len(data)
            return self.left <= 0
        return False

    def read_head(self, head: bytes) -> None:
        """How the body ends."""
        self.keeps = b"connection: close" not in head and not head.startswith(b"http/1.0")
        self.chunked = b"transfer-encoding: chunked" in head
        if not self.chunked:
            _, found, rest = head.partition(b"content-length:")
            self.left = int(rest.partition(b"\r\n")[0]) if found else None
            self.closes = self.left is None

    keeps = False


class Connection:
    """A client that has one request under way at most, and connects again where it has to."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.address, self.request = address, request
        self.socket: socket.socket | None = None
        self.answer: Answer | None = None
        self.asking = request
        self.reused = False
        self.since = 0.0

    @property
    def idle(self) -> bool:
        """Whether the next request can go out."""
        return self.answer is None

    def ask(self, since: float, request: bytes | None = None) -> None:
        """Sends a request that was due at a moment."""
        if self.socket is None:
            self.socket = socket.create_connection(self.address, timeout=LOST)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reused = False
        self.since, self.answer, self.asking = since, Answer(), request or self.request
        try:
            self.socket.sendall(self.asking)
        except ConnectionError:
            self.ask_again()

    def receive(self) -> bool:
        """Whether the answer is whole now; raises OSError if it never will be."""
        assert self.socket is not None
        try:
            data = self.socket.recv(RECEIVE)
        except ConnectionError:
            data = b""
        if self.answer is None:
            # The server closed a kept connection, as it may.
            self.close()
            return False
        if not data and not self.answer.taken and self.reused:
            self.ask_again()
            return False
        whole = self.answer.take(data)
        if not data and not whole:
            raise ConnectionResetError("cut")
        if whole:
            self.reused, self.answer = self.answer.keeps and bool(data), None
            if not self.reused:
                self.close()
        return whole

    def ask_again(self) -> None:
        """On a new connection: a server may close a kept one when the request is on its way."""
        if not self.reused:
            raise ConnectionResetError("cut")
        since, asking = self.since, self.asking
        self.close()
        self.ask(since, asking)

    def close(self) -> None:
        """Drops the connection and what was under way."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self.answer = None, None


def drive(
    address: tuple[str, int],
    request: bytes,
    connections: int = 8,
    seconds: float = 0.3,
    rate: float | None = None,
) -> Measured:
    """A bounded load: each connection asks again when it is answered, or all of them together ask
    so many times a second. Then the time of a request begins when it is due: one that has to wait
    for a connection has waited too.
    """
    clients = [Connection(address, request) for _ in range(connections)]
    measured = Measured()
    begun = time.monotonic()
    try:
        if rate is None:
            _closed(clients, measured, begun + seconds)
        else:
            _open(clients, measured, begun, seconds, rate)
    finally:
        for client in clients:
            client.close()
    measured.seconds = time.monotonic() - begun
    return measured


def _wait(clients: list[Connection], seconds: float) -> list[Connection]:
    """Those whose socket has something to be read."""
    poller = select.poll()
    by_number = {}
    for client in clients:
        if client.socket is not None:
            by_number[client.socket.fileno()] = client
            poller.register(client.socket, select.POLLIN)
    ready = poller.poll(max(0.0, seconds) * 1000)
    return [by_number[number] for number, _ in ready]


def _receive(client: Connection, measured: Measured) -> bool:
    """Notes an answer or a failure; whether one came."""
    try:
        if not client.receive():
            return False
    except OSError:
        client.close()
        measured.errors += 1
        return False
    measured.requests += 1
    measured.latencies.append(time.monotonic() - client.since)
    return True


def _ask(client: Connection, due: float, measured: Measured) -> None:
    """Asks; a connection that can't be had is a failure."""
    try:
        client.ask(due)
    except OSError:
        client.close()
        measured.errors += 1


def _closed(clients: list[Connection], measured: Measured, end: float) -> None:
    """As fast as the server answers."""
    while (now := time.monotonic()) < end and measured.requests + measured.errors < MOST:
        for client in clients:
            if client.idle:
                _ask(client, now, measured)
        ready = _wait(clients, min(LOST, end - now))
        for client in ready:
            _receive(client, measured)


def _open(
    clients: list[Connection], measured: Measured, begun: float, seconds: float, rate: float
) -> None:
    """At a rate; waits for those under way at the end."""
    total, sent, end = int(seconds * rate), 0, begun + seconds + LOST
    while (now := time.monotonic()) < end:
        for client in clients:
            due = begun + sent / rate
            if sent < total and due <= now and client.idle:
                _ask(client, due, measured)
                sent += 1
        busy = any(not client.idle for client in clients)
        if sent >= total and not busy:
            return
        wait = end - now
        if sent < total and any(client.idle for client in clients):
            wait = begun + sent / rate - now
        for client in _wait(clients, wait):
            _receive(client, measured)
    measured.errors += sum(not client.idle for client in clients) + total - sent
