"""`threads`: requests that run at the same time, and what that changes for the app."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Server, Stage, wait_record, wait_until
from harness.load import Load
from harness.process import Gate, holds_for, scaled

pytestmark = pytest.mark.ironhorn("its own threads")

PATIENCE = 60


def noted(stage: Stage, name: str) -> list[str]:
    path: Path = stage.directory / name
    return path.read_text().splitlines() if path.exists() else []


def hold(server: Server, gate: Gate, count: int, target: str = "/meet?busy") -> list:
    """So many requests that wait in the app at a gate."""
    wires = [server.connect(PATIENCE).get(target) for _ in range(count)]
    gate.wait_arrived(count, PATIENCE)
    return wires


def test_as_many_run_as_there_are_threads(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=8, env={"PARTY": "8"})
    wires = [server.connect(PATIENCE).get("/together") for _ in range(8)]
    names = {wire.read_response().body.decode() for wire in wires}
    assert names == {f"ironhorn-app-{number}" for number in range(1, 9)}
    tasks = Path(f"/proc/{server.worker()}/task").iterdir()
    assert names | {"ironhorn-loop"} <= {(task / "comm").read_text().strip() for task in tasks}
    assert json.loads(server.get("/environ").body)["wsgi.multithread"] is True
    for wire in wires:
        assert wire.get("/named").read_response().status == 200
        wire.close()


def test_one_connection_has_one_request_run_at_a_time(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=8)
    with server.connect() as wire:
        for number in range(50):
            wire.get(f"/fields?X-Number={number}")
        for number in range(50):
            assert wire.read_response().get("X-Number") == str(number)


def test_each_request_has_its_own_timeout(stage: Stage, gate: Callable[[str], Gate]) -> None:
    """The one that is stuck gets 504 and a record that names thread and stack; those beside it go
    on, and have the time that they asked for.
    """
    server = stage.serve("crowd:app", threads=4, timeout=1, graceful_timeout=60)
    server.allow_log("request timeout", "worker died")
    long = gate("extended")
    extended = hold(server, long, 1, "/extended")[0]
    with server.connect(PATIENCE) as stuck:
        assert stuck.get("/wait?4").read_response().status == 504
        stuck.wait_closed()
    record = wait_record(server.log, "request timeout", shows="in wait")
    assert record["path"] == "/wait?4"
    name = f"ironhorn-app-{record['thread']}"
    stack = record.block.split(f"({name}) (most recent call first)")[1].split("\n\n")[0]
    assert re.search(r"toolbox\.py\", line \d+ in wait\b", stack), record.block
    server.log.wait_for_line("ready", PATIENCE, count=2)
    assert server.get("/hello").status == 200
    long.let_pass()
    assert extended.read_response().body == b"in time\n"
    extended.close()


@pytest.mark.parametrize("threads", [1, 4])
def test_the_app_can_ask_whether_its_client_is_there(
    stage: Stage, gate: Callable[[str], Gate], threads: int
) -> None:
    point = gate("asks")
    server = stage.serve("crowd:app", threads=threads)
    for leaves in (False, True):
        wire = hold(server, point, 1, "/asks")[0]
        if leaves:
            wire.close()
        point.let_pass()
        if not leaves:
            assert wire.read_response().body == b"x"
            wire.close()
    wait_until(lambda: len(noted(stage, "asked")) >= 7, PATIENCE)
    here = ["before False", "after False", "elsewhere refused", "generator False"]
    assert noted(stage, "asked")[:7] == [*here, "before False", "after True", "elsewhere refused"]


def test_a_slow_reader_is_never_far_behind(stage: Stage) -> None:
    """Of a body that is made as it goes no more is made than the buffers take."""
    server = stage.serve("crowd:app", threads=2)
    with server.connect(receive_buffer=65536) as reader, server.connect() as other:
        reader.get("/measured").read_head()
        other.get("/written").read_head()
        for name, most in (("made", 16), ("written", 16)):
            holds_for(lambda name=name, most=most: len(noted(stage, name)) < most, 0.5)
        # They hold both threads and not the interpreter, the loop or the memory.
        assert wait_until(lambda: len(noted(stage, "made")) > 0)
    wait_until(lambda: server.get("/hello").status == 200, PATIENCE)


def test_a_slow_reader_of_what_is_known_holds_no_thread(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=2)
    readers = [server.connect(receive_buffer=65536).get("/big?33554432") for _ in range(6)]
    for reader in readers:
        reader.read_head()
    assert server.get("/hello").status == 200
    for reader in readers:
        assert len(reader.read_exactly(33554432, PATIENCE)) == 33554432
        reader.close()


def test_a_process_that_the_app_forks_ends_as_usual(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=4)
    for _ in range(4):
        assert server.get("/forks", deadline=PATIENCE).body == b"0"
    assert noted(stage, "forked") == ["child"] * 4


def test_signal_handlers_run_while_all_threads_are_busy(
    stage: Stage, gate: Callable[[str], Gate]
) -> None:
    busy = gate("busy")
    server = stage.serve("crowd:app", threads=2)
    wires = hold(server, busy, 2)
    os.kill(server.worker(), signal.SIGALRM)
    wait_until(lambda: noted(stage, "handled") == ["MainThread"], PATIENCE)
    busy.let_pass(2)
    for wire in wires:
        assert wire.read_response().status == 200
        wire.close()


def test_hooks_run_where_the_request_does(stage: Stage) -> None:
    (stage.directory / "hooks.py").write_text(
        "import threading\n"
        "from meeting import note\n"
        "def pre_request(worker, environ):\n"
        "    environ['noted'] = threading.current_thread().name\n"
        "def post_request(worker, environ, status, seconds):\n"
        "    same = environ['noted'] == threading.current_thread().name\n"
        "    note('hooked', f'{status} {same}')\n"
    )
    server = stage.serve("crowd:app", threads=4, hooks="hooks.py")
    for _ in range(3):
        assert server.get("/named").status == 200
    wait_until(lambda: noted(stage, "hooked") == ["200 OK True"] * 3, PATIENCE)


@pytest.mark.alone
def test_the_loop_needs_no_interpreter(stage: Stage) -> None:
    """Threads that compute take nothing from what the loop does by itself."""
    server = stage.serve("crowd:app", threads=4, health_path="/health")
    for _ in range(4):
        assert server.get("/computes", deadline=PATIENCE).status == 200
    for _ in range(50):
        assert server.get("/health", deadline=scaled(2)).body == b"ready\n"


@pytest.mark.alone
def test_a_worker_that_cannot_run_leaves_connections_to_others(stage: Stage) -> None:
    """C code that holds the interpreter's lock keeps the other threads of its worker from running,
    but few requests come to it.
    """
    server = stage.serve("crowd:app", threads=8, workers=2, timeout=0, graceful_timeout=1)
    server.allow_log("graceful timeout", "worker died")
    wires = [server.connect().get("/hold")]
    waits = 0
    for _ in range(20):
        wires.append(server.connect().get("/hello"))
        if wires[-1].is_silent_for(0.3):
            waits += 1
    assert waits <= 2
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("order", [signal.SIGHUP, signal.SIGTERM], ids=["reload", "stop"])
def test_no_request_fails_under_load(stage: Stage, order: signal.Signals) -> None:
    server = stage.serve("crowd:app", threads=4, workers=2)
    assert server.address is not None
    if order == signal.SIGTERM:
        gone = stage.serve("crowd:app", threads=4)
        wires = [gone.connect(PATIENCE).get("/wait?1") for _ in range(12)]
        wait_until(lambda: gone.get("/hello", deadline=PATIENCE).status == 200, PATIENCE)
        gone.send(order)
        for wire in wires:
            assert wire.read_response().status == 200
            wire.close()
        assert gone.wait_exit(PATIENCE) == 0
        return
    with Load(server.address) as load:
        load.wait_more(100, PATIENCE)
        server.send(order)
        server.log.wait_for_line(r"\breloaded\b", PATIENCE)
        load.wait_more(100, PATIENCE)
    load.report.assert_none_failed()


def test_a_worn_worker_is_replaced_under_load(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=4, max_requests=200)
    assert server.address is not None
    with Load(server.address) as load:
        server.log.wait_for_line(r"exited reason=max_requests", PATIENCE)
        load.wait_more(50, PATIENCE)
    load.report.assert_none_failed()
