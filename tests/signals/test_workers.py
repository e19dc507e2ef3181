"""Workers that are added, removed, signalled, killed or that die, and what the master does about
it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress

import pytest
from harness import BadResponse, Load, Server, Stage, is_alive, wait_until
from harness.process import holds_for, scaled


def test_ttin_and_ttou(stage: Stage) -> None:
    server = stage.serve()
    for signum, count in [
        (signal.SIGTTIN, 2),
        (signal.SIGTTIN, 3),
        (signal.SIGTTOU, 2),
        (signal.SIGTTOU, 1),
        (signal.SIGTTOU, 1),
        (signal.SIGTTIN, 2),
    ]:
        server.send(signum)
        server.wait_workers(count)
    assert server.get("/hello").status == 200


def test_never_below_one_worker(stage: Stage) -> None:
    server = stage.serve()
    before = server.workers()
    for _ in range(3):
        server.send(signal.SIGTTOU)
    if server.flavour.name == "ironhorn":
        # Signals that are pending together have no order.
        server.log.wait_for_line("workers at their limit")
    server.send(signal.SIGTTIN)
    server.wait_workers(2)
    assert set(before) <= set(server.workers())


def test_ttou_cuts_nothing(stage: Stage) -> None:
    server = stage.serve(workers=4)
    with Load(server.address, keep_alive=6, one_request=6) as load:
        for count in (3, 2, 1):
            load.wait_more(50)
            server.send(signal.SIGTTOU)
            server.wait_workers(count)
    load.stop().assert_none_failed()


@pytest.mark.ironhorn("its workers die of HUP")
@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGWINCH, signal.SIGCHLD, signal.SIGPIPE])
def test_harmless_to_a_worker(stage: Stage, signum: signal.Signals) -> None:
    server = stage.serve()
    pid = server.worker()
    for _ in range(5):
        os.kill(pid, signum)
        assert server.get("/pid").body == b"%d\n" % pid
    assert server.workers() == [pid]


@pytest.mark.parametrize("signum", [signal.SIGCHLD, signal.SIGPIPE])
def test_harmless_to_the_master(stage: Stage, signum: signal.Signals) -> None:
    server = stage.serve()
    for _ in range(5):
        server.send(signum)
    assert server.get("/hello").status == 200
    server.assert_running()


def test_term_to_a_worker_is_graceful(stage: Stage) -> None:
    server = stage.serve()
    gate = stage.gate("slow")
    pid = server.worker()
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        os.kill(pid, signal.SIGTERM)
        gate.let_pass()
        assert wire.read_response().body == b"passed\n"
    wait_until(lambda: not is_alive(pid))
    server.wait_ready(2)
    assert server.get("/hello").status == 200


@pytest.mark.differs("waits for its threads")
def test_int_to_a_worker_is_quick(stage: Stage) -> None:
    server = stage.serve()
    server.allow_log("SystemExit", "Traceback", "ERROR")
    gate = stage.gate("slow")
    pid = server.worker()
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        os.kill(pid, signal.SIGINT)
        wait_until(lambda: not is_alive(pid), 1.0)
    server.wait_ready(2)
    assert server.get("/hello").status == 200


def replaced(server: Server, old: int, count: int) -> None:
    """The old worker is gone and there are as many as before."""
    wait_until(
        lambda: not is_alive(old) and len(server.workers()) == count, what="the worker is replaced"
    )


def assert_exit_is_logged(server: Server, reason: str) -> None:
    if server.flavour.name == "ironhorn":
        line = server.log.wait_for_line(rf"worker=\d+ generation=1 pid=\d+ worker died .*{reason}")
        assert "age=" in line
        assert "served=" in line


def test_kill_9(stage: Stage) -> None:
    """Replaced at once; only requests of the killed worker may suffer."""
    server = stage.serve(workers=2)
    server.allow_log("worker died")
    with Load(server.address, keep_alive=0, one_request=8) as load:
        load.wait_more(50)
        (old, _) = server.workers()
        os.kill(old, signal.SIGKILL)
        killed = time.monotonic()
        replaced(server, old, 2)
        server.wait_ready(3)
        assert time.monotonic() - killed < scaled(2.0)
        load.wait_more(50)
    report = load.stop()
    assert len(report.failures) <= 8
    assert all(sample.status == 200 for sample in report.samples)
    assert_exit_is_logged(server, "SIGKILL")


@pytest.mark.parametrize(("path", "reason"), [("/exit", "exit code 7"), ("/segfault", "SIGSEGV")])
def test_an_app_that_takes_the_worker_down(stage: Stage, path: str, reason: str) -> None:
    server = stage.serve(workers=2)
    server.allow_log("worker died", "SIGSEGV", "exit code", "ERROR")
    before = set(server.workers())
    with server.connect() as wire, pytest.raises((BadResponse, ConnectionError)):
        wire.get(path).read_response()
    assert server.get("/hello").status == 200
    wait_until(lambda: len(server.workers()) == 2 and len(before & set(server.workers())) == 1)
    server.wait_ready(3)
    assert_exit_is_logged(server, reason)


@pytest.mark.ironhorn("starts workers as fast as they die")
def test_a_crash_right_after_boot_is_backed_off(stage: Stage) -> None:
    """The healthy worker serves meanwhile, and when the cause is gone the server is whole again."""
    server = stage.serve("crashing:app", workers=2)
    server.allow_log("worker died", "respawn delayed")
    boots, crash = stage.directory / "boots", stage.directory / "crash"
    crash.touch()
    victim, healthy = server.workers()
    os.kill(victim, signal.SIGKILL)
    server.log.wait_for_line("respawn delayed", 15, count=2)
    before = len(boots.read_text().splitlines())
    holds_for(lambda: server.get("/hello").status == 200 and is_alive(healthy), 3.0)
    assert len(boots.read_text().splitlines()) - before <= 5
    crash.unlink()
    wait_until(lambda: len(server.workers()) == 2, 35)
    mark = server.log.mark()
    holds_for(lambda: len(server.workers()) == 2, 1.0)
    assert not server.log.matching("exited|worker died", mark)


@pytest.mark.ironhorn("its workers find out within half of the timeout")
@pytest.mark.parametrize("busy", [False, True])
def test_no_worker_outlives_the_master(stage: Stage, busy: bool) -> None:
    server = stage.serve(workers=3)
    server.expected_exit = -signal.SIGKILL
    gate = stage.gate("slow")
    if busy:
        wire = server.connect().get("/meet?slow")
        gate.wait_arrived()
    workers = server.workers()
    server.send(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)), 2.0, "no worker is left")
    if busy:
        wire.close()


@pytest.mark.ironhorn("a heartbeat, not a timeout of the request")
@pytest.mark.parametrize("path", ["/spin", "/hold", "/wait?60"])
def test_a_stuck_request_is_killed(stage: Stage, path: str) -> None:
    """The log names worker, method and path; the other worker goes on; the stuck one goes."""
    server = stage.serve(workers=2, timeout=1, graceful_timeout=1)
    server.allow_log("timeout", "worker died", "Traceback")
    before = set(server.workers())
    with server.connect() as wire:
        started = time.monotonic()
        wire.get(path)
        holds_for(lambda: server.get("/hello").status == 200, 0.7)
        line = server.log.wait_for_line("request timeout")
        assert 0.9 <= time.monotonic() - started <= 1 + scaled(1.5)
        for part in (r"worker=\d+", "pid=", "method=GET", f"path={path.partition('?')[0]}", "age="):
            assert re.search(part, line), (part, line)
        with suppress(BadResponse, ConnectionError):
            response = wire.read_response()
            assert response.status == 504
    wait_until(lambda: len(server.workers()) == 2 and len(before & set(server.workers())) == 1)
    server.wait_ready(3)
    assert "out of memory" not in server.log.text().lower()


@pytest.mark.ironhorn("a heartbeat, not a timeout of the request")
def test_each_chunk_starts_the_time_anew(stage: Stage) -> None:
    server = stage.serve(timeout=1)
    response = server.get("/slow-chunks")
    assert response.body == b"slow\n" * 5


@pytest.mark.ironhorn("a heartbeat, not a timeout of the request")
def test_idle_workers_are_not_stuck(stage: Stage) -> None:
    server = stage.serve(timeout=1)
    pid = server.worker()
    with server.connect() as wire:
        wire.get("/hello").read_response()
        holds_for(lambda: server.workers() == [pid], 2.5)
        assert wire.get("/hello").read_response().status == 200


@pytest.mark.ironhorn("may be killed after the pause")
def test_a_stopped_master_kills_nobody_when_it_goes_on(stage: Stage) -> None:
    server = stage.serve(timeout=1)
    pid = server.worker()
    server.send(signal.SIGSTOP)
    holds_for(lambda: server.get("/hello").status == 200, 2.5)
    server.send(signal.SIGCONT)
    holds_for(lambda: server.workers() == [pid], 1.0)
