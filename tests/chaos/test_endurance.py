"""The same thing again and again: nothing of it is left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from harness import Load, Stage, Wire, is_alive, wait_until
from soak.storm import soak

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]


def test_twenty_reloads(stage: Stage, vitals) -> None:
    """Descriptors, shared pages and memory are as after the first."""
    server = stage.serve(workers=2)

    server.reload()
    signs = vitals(server, 2)
    with Load(server.address, keep_alive=3, one_request=3) as load:
        for _ in range(20):
            server.reload()
    load.stop().assert_none_failed()
    signs.wait_recovered()


def test_a_burst_of_reloads(stage: Stage, vitals) -> None:
    """A hundred HUPs without a pause: each starts over, the last one counts."""
    server = stage.serve(workers=3)
    signs = vitals(server, 3)
    before = set(server.workers())
    with Load(server.address, keep_alive=3, one_request=3) as load:
        for _ in range(100):
            server.send(signal.SIGHUP)
            load.wait_more(1)
        wait_until(lambda: not before & set(server.workers()), 40)
    load.stop().assert_none_failed()
    signs.wait_recovered()


def test_every_worker_killed_in_turn(stage: Stage, vitals) -> None:
    """Twelve deaths, each of a worker that has served for a second or more or is the first."""
    server = stage.serve(workers=3)
    server.allow_log("worker died", "respawn delayed")
    signs = vitals(server, 3)
    for _ in range(4):
        for victim in server.workers():
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: not is_alive(victim))
            assert server.get("/hello").status == 200
        wait_until(lambda: len(server.workers()) == 3, 40)
    signs.wait_recovered()


def test_clients_that_come_and_go(stage: Stage, vitals) -> None:
    """Two thousand connections, most of them reset in some state: no descriptor of a worker stays
    open.
    """
    server = stage.serve()
    worker = server.worker()
    assert server.get("/hello").status == 200
    signs = vitals(server, 1)
    before = len(os.listdir(f"/proc/{worker}/fd"))
    for number in range(2000):
        wire = Wire(server.address)
        if number % 4:
            wire.send_what_fits(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"[: number % 40])
        wire.reset() if number % 3 else wire.close()
    wait_until(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= before, what="all are closed")
    assert server.worker() == worker
    signs.wait_recovered()


def test_a_short_soak(tmp_path: Path) -> None:
    """See scripts/soak: here for 20 s."""
    result = soak(Path(sys.executable).parent, tmp_path, 20, seed=1)
    assert not result.broken, (result.broken, result.failed, result.log)
    assert result.requests > 1000
    assert result.log["reloads completed"] >= 2
    assert result.log["max_requests"] >= 2
    assert result.done["KILL"] >= 2


@pytest.mark.parametrize("threads", [1, 8])
def test_one_stuck_request_after_another(stage: Stage, vitals, threads: int) -> None:
    """Each costs a worker, its stacks and a log record: none of it is kept. Whoever is told 504 and
    comes again at once doesn't get to the worker that is given up.
    """
    server = stage.serve(workers=2, threads=threads, timeout=0.3, graceful_timeout=0.2)
    server.allow_log("timeout", "worker died", "respawn delayed", "Stack", "Traceback")
    signs = vitals(server, 2)
    for _ in range(12):
        with server.connect() as wire:
            wire.get("/wait?60")
            assert wire.read_response().status == 504
        wait_until(lambda: len(server.workers()) == 2, 40)
    signs.wait_recovered()
    assert not server.log.matching("request lost")


def test_control_clients_that_say_nothing(stage: Stage, vitals) -> None:
    """As many as are admitted, silent, in the middle of a request, or such that never read: the
    master reloads meanwhile, and answers somebody else soon.
    """
    path = stage.directory / "control"
    server = stage.serve(workers=2, control=path)
    signs = vitals(server, 2)
    said = [b"", b'{"command":', b'{"command":"status"}\n' * 50]
    rude = [Wire(str(path)) for _ in range(16)]
    for number, wire in enumerate(rude):
        wire.send_what_fits(said[number % 3])
    old = set(server.workers())
    server.send(signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()))

    def answered() -> bool:
        with Wire(str(path)) as wire:
            wire.send_what_fits(b'{"command":"status"}\n')
            return wire.read_exactly(11) == b'{"ok":true,'

    wait_until(answered, 30)
    for wire in rude:
        wire.close()
    signs.wait_recovered()
