"""Lines of the access log that come together are written together, and neither late nor lost."""

from __future__ import annotations

import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from harness import Server, Stage, Wire, wait_until
from harness.process import Gate

pytestmark = pytest.mark.ironhorn("gathers lines")

PATIENCE = 30
CONNECTIONS = 24


def pid_of(wire: Wire) -> int:
    return int(wire.get("/pid").read_response().body)


@contextmanager
def kept_by_one(server: Server) -> Iterator[tuple[int, list[Wire]]]:
    """The worker of two that has more of the connections, and those."""
    held: dict[int, list[Wire]] = defaultdict(list)
    with ExitStack() as wires:
        for _ in range(CONNECTIONS):
            wire = wires.enter_context(server.connect(PATIENCE))
            held[pid_of(wire)].append(wire)
        yield max(held.items(), key=lambda item: len(item[1]))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """What comes meanwhile is there when it goes on: for one turn."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def writes(pid: int) -> int:
    """How many times it has called write(2) (proc_pid_io(5))."""
    (count,) = re.findall(r"syscw: (\d+)", Path(f"/proc/{pid}/io").read_text())
    return int(count)


def serve(stage: Stage) -> tuple[Server, Callable[[str], int]]:
    """And how often a line is in the log."""
    path = stage.directory / "access.log"
    server = stage.serve(
        workers=2, keepalive=PATIENCE, access_logfile=path, access_logformat="%(U)s"
    )
    return server, lambda line: path.read_text().splitlines().count(line)


def test_lines_of_a_turn_are_one_write(stage: Stage) -> None:
    server, count = serve(stage)
    with kept_by_one(server) as (worker, wires):
        before = writes(worker)
        with stopped(worker):
            for wire in wires:
                wire.get("/hello")
        for wire in wires:
            assert wire.read_response().status == 200
        wait_until(lambda: count("/hello") == len(wires), what="all lines are there")
        assert writes(worker) - before < len(wires) / 2


def test_they_are_there_while_the_next_request_hangs(
    stage: Stage, gate: Callable[[str], Gate]
) -> None:
    server, count = serve(stage)
    busy = gate("busy")
    with kept_by_one(server) as (worker, [*quick, slow]):
        with stopped(worker):
            for wire in quick:
                wire.get("/hello")
            slow.get("/meet?busy")
        busy.wait_arrived()
        wait_until(lambda: count("/hello") == len(quick), what="all lines but one are there")
        assert count("/meet") == 0
        busy.let_pass()
        assert slow.read_response().status == 200
        wait_until(lambda: count("/meet") == 1, what="the last one is there")


def test_they_are_there_when_the_next_request_kills_the_worker(stage: Stage) -> None:
    server, count = serve(stage)
    with kept_by_one(server) as (worker, [*quick, last]):
        server.allow_log("worker died")
        with server.complains("worker died"), stopped(worker):
            for wire in quick:
                wire.get("/hello")
            last.get("/exit")
        for wire in quick:
            assert wire.read_response().status == 200
        wait_until(lambda: count("/hello") == len(quick), what="all lines are there")
