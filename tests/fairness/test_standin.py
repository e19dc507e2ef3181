"""Nobody waits behind one worker's long request while another worker is idle."""

from __future__ import annotations

import os
import signal
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from harness import Server, Stage, Wire, wait_until
from harness.measure import descriptors
from harness.process import Gate, is_alive

pytestmark = pytest.mark.ironhorn("its workers pass connections on")

Opens = Callable[[Server], list[list[Wire]]]

PATIENCE = 30
MANY = 400
"""Connections after which both workers must have got some."""


def pid_of(wire: Wire) -> int:
    return int(wire.get("/pid").read_response().body)


def reload_until_gone(server: Server, pid: int, its: list[Wire]) -> None:
    """HUP, and waits until a worker with these connections has left."""
    mark = server.log.mark()
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded", since=mark)
    for wire in its:
        wire.close()
    wait_until(lambda: not is_alive(pid), what=f"worker {pid} has left")


@pytest.fixture
def kept_by_each() -> Iterator[Opens]:
    """At least three kept connections of each of two workers, by worker."""
    with ExitStack() as wires:

        def open_them(server: Server) -> list[list[Wire]]:
            held: dict[int, list[Wire]] = defaultdict(list)
            for _ in range(MANY):
                wire = wires.enter_context(server.connect(PATIENCE))
                held[pid_of(wire)].append(wire)
                if len(held) == 2 and all(len(its) >= 3 for its in held.values()):
                    return list(held.values())
            raise AssertionError({pid: len(its) for pid, its in held.items()})

        yield open_them


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_kept_connections_go_to_who_is_idle(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens, bind: str, preload: bool
) -> None:
    server = stage.serve(workers=2, bind=bind, preload=preload, keepalive=PATIENCE)
    busy = gate("busy")
    (kept, *others), idle = kept_by_each(server)
    there, elsewhere = pid_of(kept), pid_of(idle[0])
    before = descriptors(there)
    kept.get("/meet?busy")
    busy.wait_arrived()
    for _ in range(2):  # they stay there
        assert {pid_of(wire) for wire in others} == {elsewhere}
    assert kept.is_silent_for(0.01)
    busy.let_pass()
    assert kept.read_response().status == 200
    assert pid_of(kept) == there
    wait_until(lambda: descriptors(there) <= before - len(others), what="it has let them go")
    assert all(pid_of(wire) for wire in [*others, *idle])


def test_what_is_passed_on_can_end_while_the_worker_is_busy(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens
) -> None:
    """The client learns it, as nobody else holds the connection."""
    server = stage.serve(workers=2, keepalive=PATIENCE)
    busy = gate("busy")
    (kept, other, *_), (idle, *_) = kept_by_each(server)
    elsewhere = pid_of(idle)
    kept.get("/meet?busy")
    busy.wait_arrived()
    other.get("/pid", "Connection: close")
    assert int(other.read_response().body) == elsewhere
    other.wait_closed()
    busy.let_pass()
    assert kept.read_response().status == 200


def test_where_all_are_busy_who_is_free_first_has_it(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens
) -> None:
    server = stage.serve(workers=2, keepalive=PATIENCE)
    first, second = gate("first"), gate("second")
    (kept, other, *_), (idle, *_) = kept_by_each(server)
    elsewhere = pid_of(idle)
    kept.get("/meet?first")
    first.wait_arrived()
    idle.get("/meet?second")
    second.wait_arrived()
    other.get("/pid")
    assert other.is_silent_for(0.2)
    second.let_pass()
    assert int(other.read_response().body) == elsewhere
    first.let_pass()
    assert kept.read_response().status == idle.read_response().status == 200


def test_a_sibling_that_is_hardly_ever_idle_takes_them_too(
    stage: Stage, gate: Callable[[str], Gate]
) -> None:
    """It has one request of 2 ms after another, and few of them run before what is passed on."""
    server = stage.serve(workers=2, keepalive=PATIENCE)
    ran_before = []
    with ExitStack() as opened:
        wires = [opened.enter_context(server.connect(PATIENCE)) for _ in range(8)]
        for nr in range(7):
            # One of them may have taken all at first.
            while len(held := by_worker(wires)) < 2:
                wires.append(opened.enter_context(server.connect(PATIENCE)))
            (quick, *_), (kept, other, *_) = sorted(held.values(), key=len)
            busy = gate(f"busy{nr}")
            kept.get(f"/meet?busy{nr}")
            busy.wait_arrived()
            with Repeating(quick, "/wait?0.002") as repeating:
                repeating.wait_for(5)
                asked_at = repeating.count
                pid_of(other)
                ran_before.append(repeating.count - asked_at)
            busy.let_pass()
            assert kept.read_response().status == 200
    assert statistics.median(ran_before) <= 12, ran_before


def by_worker(wires: list[Wire]) -> dict[int, list[Wire]]:
    held: dict[int, list[Wire]] = defaultdict(list)
    for wire in wires:
        held[pid_of(wire)].append(wire)
    return held


class Repeating:
    """One request after another by one connection, in a thread."""

    def __init__(self, wire: Wire, target: str) -> None:
        self.count = 0
        self._wire = wire
        self._target = target
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            self._wire.get(self._target).read_response()
            self.count += 1

    def wait_for(self, count: int) -> None:
        """Waits until so many have been answered."""
        wait_until(lambda: self.count >= count, what=f"{count} requests")

    def __enter__(self) -> Repeating:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it still waits for an answer"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_nobody_is_lost_at_the_end(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens, signum: signal.Signals
) -> None:
    """A request that came while the worker was busy is answered, whoever is told to leave."""
    server = stage.serve(workers=2, keepalive=PATIENCE, graceful_timeout=PATIENCE)
    busy = gate("busy")
    (kept, *others), _ = kept_by_each(server)
    kept.get("/meet?busy")
    busy.wait_arrived()
    with server.complains("stopping" if signum == signal.SIGTERM else "reloaded"):
        os.kill(server.pid, signum)
        for wire in others:
            wire.get("/pid")
    busy.let_pass()
    assert kept.read_response().status == 200
    for wire in others:
        assert wire.read_response().status == 200


def test_nobody_is_lost_with_the_last_who_has_the_listener(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens
) -> None:
    """Workers of the new code are idle, but have another address: they take nothing over."""
    server = stage.serve(bind=None, config="workers: 2\nbind: unix:a\n", keepalive=PATIENCE)
    server.address = str(stage.directory / "a")
    busy = gate("busy")
    (kept, *others), leaving = kept_by_each(server)
    elsewhere = pid_of(leaving[0])
    kept.get("/meet?busy")
    busy.wait_arrived()
    (stage.directory / "ironhorn.yaml").write_text("workers: 2\nbind: unix:b\n")
    reload_until_gone(server, elsewhere, leaving)
    for wire in others:
        wire.get("/pid")
    assert all(wire.is_silent_for(0.1) for wire in others)
    busy.let_pass()
    assert kept.read_response().status == 200
    for wire in others:
        assert wire.read_response().status == 200


@pytest.mark.parametrize("stopped", [False, True], ids=["", "one stands still"])
def test_new_connections_are_served_by_who_lives(stage: Stage, stopped: bool) -> None:
    """Who has more than a worker that looks idle leaves it the next, and takes it back."""
    server = stage.serve(workers=2, keepalive=PATIENCE)
    there, elsewhere = server.workers()
    if stopped:
        os.kill(elsewhere, signal.SIGSTOP)
    try:
        with ExitStack() as wires:
            opened = [wires.enter_context(server.connect(PATIENCE)) for _ in range(MANY // 4)]
            by = {pid_of(wire) for wire in opened}
            assert by == ({there} if stopped else {there, elsewhere})
    finally:
        os.kill(elsewhere, signal.SIGCONT)


def test_what_is_passed_on_goes_on_as_it_began(
    stage: Stage, gate: Callable[[str], Gate], kept_by_each: Opens
) -> None:
    """A reload that has others begin with a PROXY header changes nothing for who is connected."""
    server = stage.serve(config="workers: 2", keepalive=PATIENCE, graceful_timeout=PATIENCE)
    busy = gate("busy")
    (kept, *others), leaving = kept_by_each(server)
    elsewhere = pid_of(leaving[0])
    kept.get("/meet?busy")
    busy.wait_arrived()
    (stage.directory / "ironhorn.yaml").write_text(
        "workers: 2\nproxy_protocol: auto\nproxy_allow_from: 127.0.0.1\n"
    )
    reload_until_gone(server, elsewhere, leaving)
    for _ in range(2):
        assert all(pid_of(wire) for wire in others)
    busy.let_pass()
    assert kept.read_response().status == 200
