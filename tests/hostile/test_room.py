"""More clients than worker_connections, each of which does just enough not to be timed out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from harness import BadResponse, Server, Stage, Wire, request
from harness.process import scaled
from tls.certificates import Authority, TlsWire

pytestmark = [pytest.mark.ironhorn("no such promise"), pytest.mark.alone]

ROUNDS = 12
"""How often each of them sends or takes something."""
PIECE = bytes(260)
"""What they send each time: body_min_rate is 240 a second, and there is a round or more in each."""
LENGTH = 100_000
MAKES_ROOM = r"WARN .*the slowest make room"
UPLOADED = 4_000_000


@dataclass
class House:
    """A server, and how to connect to it."""

    server: Server
    connect: Callable[[], Wire]
    room: int


@pytest.fixture(params=["inline", "threads", "tls"])
def house(request: pytest.FixtureRequest, stage: Stage) -> House:
    """The way a server is run: each with the room that its clients' number is to exceed."""
    room = 100 if request.param == "tls" else 1000
    settings: dict[str, object] = {"worker_connections": room, "health_path": "/healthz"}
    if request.param == "threads":
        settings["threads"] = 4
    if request.param != "tls":
        server = stage.serve(**settings)
        return House(server, server.connect, room)
    authority = Authority(stage.directory)
    certfile = authority.issue("server", "localhost", "127.0.0.1")
    server = stage.serve(ready=False, certfile=certfile, **settings)
    server.wait_ready()
    context = authority.context()
    return House(server, lambda: TlsWire(server, context), room)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what is opened."""
    with ExitStack() as stack:
        yield stack


def begin_upload(house: House, length: int) -> Wire:
    """A connection that has announced a body."""
    return house.connect().send(request("POST", "/digest", f"Content-Length: {length}"))


def drip(wires: list[Wire]) -> int:
    """Each sends a piece of its body, if it still can; how many could."""
    return count(wires, lambda wire: wire.send(PIECE))


def sip(wires: list[Wire]) -> int:
    """Each takes a piece of its answer, if there still is one; how many could."""
    return count(wires, lambda wire: wire.read_exactly(len(PIECE)))


def count(wires: list[Wire], do: Callable[[Wire], object]) -> int:
    """How many of them can do it."""
    able = 0
    for wire in wires:
        with suppress(OSError, BadResponse):
            do(wire)
            able += 1
    return able


def check_health(house: House) -> float:
    """How long a new connection waits for the answer of health_path."""
    started = time.monotonic()
    with house.connect() as wire:
        assert wire.get("/healthz").read_response().status == 200
    return time.monotonic() - started


def test_dripping_bodies_in_all_connections(house: House, stack: ExitStack) -> None:
    """A tenth more than there is room for, all of them faster than body_min_rate: who comes is
    answered, as is health_path, and an upload that is quicker than they are is not given up.
    """
    with house.server.complains(MAKES_ROOM):
        upload = stack.enter_context(begin_upload(house, UPLOADED * (ROUNDS + 1)))
        upload.send(bytes(UPLOADED))
        drips = [stack.enter_context(begin_upload(house, LENGTH)) for _ in range(house.room - 1)]
        drip(drips)
        waits = [check_health(house)]
        # A connection over TLS is made when it is taken.
        more = [stack.enter_context(begin_upload(house, LENGTH)) for _ in range(house.room // 10)]
        drips += more
        for _ in range(ROUNDS):
            held = drip(drips)
            upload.send(bytes(UPLOADED))
            waits.append(check_health(house))
        assert upload.read_response().status == 200
    print(f"{house.room} dripping bodies: {max(waits) * 1000:.0f} ms until health_path answered")
    # They have a moment each: the first that are there, and the last that come.
    assert max(waits) < scaled(5)
    assert held > house.room // 2, "more had to go than came"


def test_slow_readers_in_all_connections(stage: Stage, stack: ExitStack) -> None:
    """They take a little of an endless answer: one that takes it quickly is not given up for those
    who come.
    """
    room = 50
    server = stage.serve(worker_connections=room, health_path="/healthz")
    house = House(server, lambda: server.connect(receive_buffer=4096), room)
    with server.complains(MAKES_ROOM):
        quick = stack.enter_context(server.connect().get("/endless"))
        quick.read_exactly(UPLOADED)
        readers = [stack.enter_context(house.connect().get("/endless")) for _ in range(room - 1)]
        waits = [check_health(house)]
        readers += [stack.enter_context(house.connect().get("/endless")) for _ in range(room // 5)]
        for _ in range(ROUNDS):
            held = sip(readers)
            quick.read_exactly(UPLOADED)
            waits.append(check_health(house))
    print(f"{room} slow readers: {max(waits) * 1000:.0f} ms until health_path answered")
    assert max(waits) < scaled(5)
    assert held > room // 2, "more had to go than came"
