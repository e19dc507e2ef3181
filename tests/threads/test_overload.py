"""More requests than threads: the queue, its limit, and who is turned away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Stage, wait_record, wait_until
from harness.process import Gate
from harness.records import records

pytestmark = pytest.mark.ironhorn("its own queue")

PATIENCE = 60


def test_who_waits_too_long_gets_503(stage: Stage, gate: Callable[[str], Gate]) -> None:
    busy = gate("busy")
    server = stage.serve(
        "crowd:app", threads=2, queue_timeout=0.5, access_logfile="access.log", timeout=0
    )
    running = [server.connect(PATIENCE).get("/meet?busy") for _ in range(2)]
    busy.wait_arrived(2, PATIENCE)
    waiting = [server.connect(PATIENCE).get("/meet?busy") for _ in range(5)]
    for wire in waiting:
        response = wire.read_response()
        assert (response.status, response.body) == (503, b"Service Unavailable\n")
        assert response.get("Retry-After") == "1"
        wire.close()
    assert not busy.has_arrived(), "none of them was run"
    message = (
        "requests waited longer than queue_timeout and were answered 503; "
        "raise threads or workers, or queue_timeout"
    )
    record = wait_record(server.log, message)
    assert (record.level, record["threads"], record["queue_timeout"]) == ("WARN", "2", "500ms")
    assert float(record["waited"].removesuffix("s").removesuffix("m")) >= 0.5
    assert len([found for found in records(server.log) if found.message == message]) == 1
    busy.let_pass(2)
    for wire in running:
        assert wire.read_response().status == 200
        wire.close()
    log = stage.directory / "access.log"
    wait_until(lambda: log.read_text().count('" 503 ') == 5, PATIENCE)
    wait_until(lambda: log.read_text().count('" 200 ') == 2, PATIENCE)


def test_a_full_queue_is_said_once_and_nothing_is_lost(
    stage: Stage, gate: Callable[[str], Gate]
) -> None:
    busy = gate("busy")
    server = stage.serve("crowd:app", threads=2, queue=1, health_path="/health", timeout=0)
    wires = [server.connect(PATIENCE).get("/meet?busy") for _ in range(2)]
    busy.wait_arrived(2, PATIENCE)
    wires += [server.connect(PATIENCE).get("/meet?busy") for _ in range(10)]
    record = wait_record(
        server.log, "all threads are busy and the queue is full; raise threads or workers"
    )
    assert (record.level, record["threads"], record["queue"]) == ("WARN", "2", "1")
    with server.connect() as wire:
        for _ in range(3):
            assert wire.get("/health").read_response().body == b"ready\n"
    busy.let_pass(12)
    for wire in wires:
        assert wire.read_response().body == b"passed\n"
        wire.close()
    assert len(server.log.matching("queue is full")) == 1


def test_who_has_left_is_not_run(stage: Stage, gate: Callable[[str], Gate]) -> None:
    busy = gate("busy")
    server = stage.serve("crowd:app", threads=2, timeout=0, log_level="debug")
    running = [server.connect(PATIENCE).get("/meet?busy") for _ in range(2)]
    busy.wait_arrived(2, PATIENCE)
    leaving = [server.connect(PATIENCE).get("/meet?busy") for _ in range(4)]
    waiting = server.connect(PATIENCE).get("/hello")
    for wire in leaving:
        wire.close()
    server.log.wait_for_line("client gone before its request was run", PATIENCE, count=4)
    busy.let_pass(2)
    assert waiting.read_response().body == b"hello\n"
    waiting.close()
    for wire in running:
        assert wire.read_response().body == b"passed\n"
        wire.close()
    assert not busy.has_arrived()


def test_a_client_that_sends_no_more_is_answered(stage: Stage) -> None:
    server = stage.serve("crowd:app", threads=2)
    for _ in range(10):
        with server.connect() as wire:
            wire.send(b"GET /hello HTTP/1.0\r\n\r\n").half_close()
            assert wire.read_response().body == b"hello\n"
