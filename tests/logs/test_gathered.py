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

Counts = Callable[..., int]
Serves = Callable[..., tuple[Server, Counts]]

PATIENCE = 30
CONNECTIONS = 24


def pid_of(wire: Wire) -> int:
    return int(wire.get("/pid").read_response().body)


@contextmanager
def kept(server: Server) -> Iterator[dict[int, list[Wire]]]:
    """Connections, by worker of two."""
    held: dict[int, list[Wire]] = defaultdict(list)
    with ExitStack() as wires:
        for _ in range(CONNECTIONS):
            wire = wires.enter_context(server.connect(PATIENCE))
            held[pid_of(wire)].append(wire)
        yield held


def most(held: dict[int, list[Wire]]) -> tuple[int, list[Wire]]:
    """The worker that has most of them, and those."""
    return max(held.items(), key=lambda item: len(item[1]))


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


@pytest.fixture
def serve(stage: Stage) -> Callable[..., tuple[Server, Counts]]:
    """Two workers, and how often a line is in a file of their log."""

    def serve_it(app: str = "toolbox:app", **settings: object) -> tuple[Server, Counts]:
        path = stage.directory / "access.log"
        server = stage.serve(
            app,
            workers=2,
            keepalive=PATIENCE,
            access_logfile=path,
            access_logformat="%(U)s",
            **settings,
        )

        def count(line: str, name: str = path.name) -> int:
            return (stage.directory / name).read_text().splitlines().count(line)

        return server, count

    return serve_it


def assert_gathered(worker: int, wires: list[Wire], count: Counts) -> None:
    """What they all ask for at once is one write, or a few."""
    before = writes(worker)
    with stopped(worker):
        for wire in wires:
            wire.get("/hello")
    for wire in wires:
        assert wire.read_response().status == 200
    wait_until(lambda: count("/hello") == len(wires), what="all lines are there")
    assert writes(worker) - before < len(wires) / 2


def test_lines_of_a_turn_are_one_write(serve: Serves) -> None:
    server, count = serve()
    with kept(server) as held:
        assert_gathered(*most(held), count)


def test_also_of_a_worker_that_was_the_first(serve: Serves, gate: Callable[[str], Gate]) -> None:
    """It has served before there was another."""
    boot = gate("boot")
    server, count = serve("slow_boot:app", ready=False)
    boot.let_pass()
    server.wait_ready(1)
    with server.connect(PATIENCE) as first:
        worker = pid_of(first)
        boot.let_pass()
        server.wait_ready(2)
        with kept(server) as held:
            assert_gathered(worker, held[worker], count)


def test_they_belong_to_the_file_before(serve: Serves, stage: Stage) -> None:
    """The log is rotated with lines under way."""
    server, count = serve()
    with kept(server) as held:
        worker, wires = most(held)
        with stopped(worker):
            for wire in wires:
                wire.get("/hello")
            (stage.directory / "access.log").rename(stage.directory / "rotated.log")
            server.send(signal.SIGUSR1)
        for wire in wires:
            assert wire.read_response().status == 200

        def all_lines() -> int:
            return count("/hello", "rotated.log") + count("/hello")

        wait_until(lambda: (stage.directory / "access.log").exists(), what="the log is new")
        wait_until(lambda: all_lines() == len(wires), what="all lines are there")


def test_they_are_there_while_the_next_request_hangs(
    serve: Serves, gate: Callable[[str], Gate]
) -> None:
    server, count = serve()
    busy = gate("busy")
    with kept(server) as held:
        worker, [*quick, slow] = most(held)
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


def test_they_are_there_when_the_next_request_kills_the_worker(serve: Serves) -> None:
    server, count = serve()
    with kept(server) as held:
        worker, [*quick, last] = most(held)
        server.allow_log("worker died")
        with server.complains("worker died"), stopped(worker):
            for wire in quick:
                wire.get("/hello")
            last.get("/exit")
        for wire in quick:
            assert wire.read_response().status == 200
        wait_until(lambda: count("/hello") == len(quick), what="all lines are there")
