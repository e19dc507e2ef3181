"""Clients that are slow, or that do nothing, are held in great numbers, while another client sends
ordinary requests: what it waits, beside what it waited before.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization as keys
from harness import BadResponse, Wire, request
from tls.certificates import Authority

from .fault import Facts, Fault
from .running import Running
from .servers import (
    Adapter,
    Granian,
    Gunicorn,
    Ironhorn,
    IronhornThreads,
    Lacking,
    Uwsgi,
    Wanted,
)

THREADS = {Ironhorn: 1, IronhornThreads: 8, Gunicorn: 8, Uwsgi: 8, Granian: 8}
"""The servers that are measured, and how many threads the one worker of each has."""
ASKED = 200
"""The requests of the ordinary client, each on a connection of its own."""
ASKING = 10.0
"""Seconds after which it asks no more."""
PATIENCE = 2.0
"""Seconds that it waits for one answer, connection and handshake included."""
OPENING = 10.0
"""Seconds that the slow clients may take to connect; who comes later isn't there."""


@dataclass(frozen=True)
class Slow(Fault):
    """A fault whose facts are the waits of the ordinary client."""

    def tell(self, facts: Facts) -> str:
        if "failed" not in facts:
            return super().tell(facts)
        failed = f"{facts['failed']} of {facts['asked']} failed"
        if facts["p99"] is None:
            return f"nothing answered, {failed} (calm p99 {facts['calm_p99']} ms)"
        return f"p50 {facts['p50']}, p99 {facts['p99']} ms (calm p99 {facts['calm_p99']}), {failed}"


def while_held(
    name: str,
    title: str,
    count: int,
    begin: Callable[[Running], Wire],
    tls: bool = False,
    connections: int | None = None,
) -> Slow:
    """So many of one kind of client are held, by a worker that has room for so many connections."""

    def make(adapter: Adapter, directory: Path) -> Facts:
        if connections is not None and not isinstance(adapter, Ironhorn):
            raise Lacking("Ironhorn only")
        wanted = Wanted(
            workers=1,
            threads=THREADS[type(adapter)],
            tls=certify(directory) if tls else None,
            connections=connections,
        )
        with Running(adapter, directory, wanted) as running:
            return measured(running, count, begin)

    return Slow(name, title, "", 60, make)


def measured(
    running: Running, count: int, begin: Callable[[Running], Wire], asked: int = ASKED
) -> dict[str, object]:
    """What the ordinary client sees before the others come, and while they are there."""
    calm = ask(running, asked)
    with held(running, count, begin) as wires:
        opened, under = len(wires), ask(running, asked)
        left = sum(not is_gone(wire) for wire in wires)
    return {**under, "calm_p99": calm["p99"], "opened": opened, "held_at_the_end": left}


def ask(running: Running, count: int) -> dict[str, object]:
    """The ordinary client's requests, one after the other: milliseconds of those with an answer."""
    waits: list[float] = []
    failed = 0
    over = time.monotonic() + ASKING
    while len(waits) + failed < count and time.monotonic() < over:
        started = time.monotonic()
        if running.answers(deadline=PATIENCE):
            waits.append((time.monotonic() - started) * 1000)
        else:
            failed += 1
    waits.sort()
    return {
        "asked": len(waits) + failed,
        "failed": failed,
        "p50": at_share(waits, 0.5),
        "p99": at_share(waits, 0.99),
        "worst": at_share(waits, 1.0),
    }


def at_share(sorted_waits: list[float], share: float) -> float | None:
    """A percentile, by the nearest rank."""
    if not sorted_waits:
        return None
    return round(sorted_waits[min(len(sorted_waits) - 1, int(len(sorted_waits) * share))], 2)


# The clients that are held


@contextmanager
def held(running: Running, count: int, begin: Callable[[Running], Wire]) -> Iterator[list[Wire]]:
    """So many clients, until the context is left."""
    over = time.monotonic() + OPENING
    with ExitStack() as stack:
        wires: list[Wire] = []
        while len(wires) < count and time.monotonic() < over:
            with suppress(OSError):
                wires.append(stack.enter_context(begin(running)))
        yield wires


def is_gone(wire: Wire) -> bool:
    """Whether the server has closed the connection, and nothing is left to be read."""
    wire.socket.setblocking(False)
    try:
        return wire.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def silent(running: Running) -> Wire:
    """Sends nothing."""
    return Wire(running.address, PATIENCE)


def half_head(running: Running) -> Wire:
    """Sends half of a head."""
    return silent(running).send(b"GET / HTTP/1.1\r\nHost: a")


def half_body(running: Running) -> Wire:
    """Sends a head, and half of the body that it announces."""
    return silent(running).send(request("POST", "/", body=bytes(1000))[:-500])


def half_hello(running: Running) -> Wire:
    """Sends half of a ClientHello."""
    return silent(running).send(HELLO[: len(HELLO) // 2])


def lingering(running: Running) -> Wire:
    """Reads its answer, after which the connection is to be closed, and doesn't close."""
    wire = silent(running).send(request("GET", "/", "Connection: close"))
    with suppress(BadResponse, OSError):
        wire.read_response(deadline=PATIENCE)
    return wire


class Reader(Wire):
    """Asks for 4 MiB and takes a kilobyte of it a few times a second."""

    def __init__(self, running: Running) -> None:
        super().__init__(running.address, PATIENCE, receive_buffer=4096)
        self._left = threading.Event()
        self.send(request("GET", "/large"))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._left.wait(0.3):
            try:
                self.socket.setblocking(False)
                self.socket.recv(1024)
            except BlockingIOError:
                continue
            except OSError:
                return

    def close(self) -> None:
        self._left.set()
        self._thread.join()
        super().close()


# TLS


def hello() -> bytes:
    """What a client of TLS sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), sent, server_hostname="localhost"
    )
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


HELLO = hello()


def certify(directory: Path) -> Path:
    """A certificate, its authority's, and its key in PKCS #8, which all of the servers read."""
    Authority(directory).issue("server", "localhost", "127.0.0.1")
    file = directory / "server.key"
    key = keys.load_pem_private_key(file.read_bytes(), None)
    form = (keys.Encoding.PEM, keys.PrivateFormat.PKCS8, keys.NoEncryption())
    file.write_bytes(key.private_bytes(*form))
    return directory


SLOW = [
    while_held("half_heads_200", "200 half-sent heads", 200, half_head),
    while_held("half_heads_1000", "1,000 half-sent heads", 1000, half_head),
    while_held("half_bodies_200", "200 half-sent bodies", 200, half_body),
    while_held("half_bodies_1000", "1,000 half-sent bodies", 1000, half_body),
    while_held("half_hellos_200", "200 half-sent TLS hellos", 200, half_hello, tls=True),
    while_held("half_hellos_1000", "1,000 half-sent TLS hellos", 1000, half_hello, tls=True),
    while_held("slow_readers_100", "100 slow readers of 4 MiB", 100, Reader),
    while_held(
        "slow_readers_at_the_limit",
        "100 slow readers of 4 MiB, with `worker_connections` of 100",
        100,
        Reader,
        connections=100,
    ),
    while_held("silent_1000", "1,000 silent connections", 1000, silent),
    while_held("lingering_50", "50 clients that stay after `Connection: close`", 50, lingering),
]
