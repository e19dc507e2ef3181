"""TERM, INT and QUIT to the master: what is finished, what is cut, how long it takes, and the exit
code.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from harness import Gate, Server, Stage, Wire, wait_until
from harness.process import scaled

STOPPING = r"\bstopping\b|Handling signal"
QUICK = [signal.SIGINT, signal.SIGQUIT]
# A quick stop takes less than a second, a graceful one here for ever.
QUICKLY = 1.0


def begin_stop(server: Server, signum: signal.Signals = signal.SIGTERM) -> float:
    """Signals the master and waits until it has begun; the moment of the signal."""
    mark = server.log.mark()
    moment = time.monotonic()
    server.send(signum)
    server.log.wait_for_line(STOPPING, since=mark)
    return moment


def refused(server: Server) -> bool:
    try:
        Wire(server.address).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.alone
@pytest.mark.parametrize("signum", [signal.SIGTERM, *QUICK])
@pytest.mark.parametrize("workers", [1, 3])
def test_idle(stage: Stage, signum: signal.Signals, workers: int) -> None:
    server = stage.serve(workers=workers)
    started = time.monotonic()
    assert server.stop(signum) == 0
    assert time.monotonic() - started < scaled(QUICKLY)


def test_the_log_says_so(stage: Stage) -> None:
    server = stage.serve()
    begin_stop(server)
    server.wait_exit()
    if server.flavour.name == "ironhorn":
        assert server.log.matching("stopped"), server.log.text()


@pytest.mark.alone
@pytest.mark.differs("idle keep-alive connections are kept for up to 2 s")
def test_idle_keep_alive_connections_do_not_delay_it(stage: Stage) -> None:
    server = stage.serve(keepalive=60)
    with server.connect() as wire:
        wire.get("/hello").read_response()
        started = begin_stop(server)
        wire.wait_closed()
        assert server.wait_exit() == 0
        assert time.monotonic() - started < scaled(QUICKLY)


def test_requests_in_flight_finish(stage: Stage) -> None:
    server = stage.serve(workers=2)
    gate = stage.gate("slow")
    wires = [server.connect().get("/meet?slow") for _ in range(2)]
    gate.wait_arrived(2)
    begin_stop(server)
    gate.let_pass(2)
    for wire in wires:
        with wire:
            response = wire.read_response()
            assert (response.status, response.body) == (200, b"passed\n")
            wire.wait_closed()
    assert server.wait_exit() == 0


@pytest.mark.differs("says keep-alive, and then closes")
def test_the_last_response_says_close(stage: Stage) -> None:
    server = stage.serve()
    gate = stage.gate("slow")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        begin_stop(server)
        gate.let_pass()
        assert wire.read_response().closes


@pytest.mark.ironhorn("runs eight requests at once here")
def test_what_the_kernel_queued_is_served(stage: Stage) -> None:
    """Connections that wait in the backlog while the only worker is busy are accepted and answered
    after TERM.
    """
    server = stage.serve()
    gate = stage.gate("slow")
    with server.connect() as first:
        first.get("/meet?slow")
        gate.wait_arrived()
        queued = [server.connect().get("/hello") for _ in range(20)]
        begin_stop(server)
        gate.let_pass()
        assert first.read_response().body == b"passed\n"
        for wire in queued:
            with wire:
                response = wire.read_response()
                assert (response.status, response.body) == (200, b"hello\n")
    assert server.wait_exit() == 0


@pytest.mark.ironhorn("runs eight requests at once here")
def test_a_request_that_has_arrived_on_a_kept_connection_is_answered(stage: Stage) -> None:
    server = stage.serve()
    gate = stage.gate("slow")
    with server.connect() as kept, server.connect() as slow:
        kept.get("/hello").read_response()
        slow.get("/meet?slow")
        gate.wait_arrived()
        kept.get("/pid")
        begin_stop(server)
        gate.let_pass()
        assert slow.read_response().status == 200
        assert kept.read_response().status == 200
    assert server.wait_exit() == 0


def test_a_stream_finishes(stage: Stage) -> None:
    server = stage.serve()
    gate = stage.gate("stream")
    with server.connect() as wire:
        wire.get("/stream?3")
        gate.let_pass()
        wire.read_head()
        assert wire.read_chunk() == b"chunk 0\n"
        begin_stop(server)
        gate.let_pass(2)
        assert [wire.read_chunk(), wire.read_chunk(), wire.read_chunk()] == [
            b"chunk 1\n",
            b"chunk 2\n",
            b"",
        ]
    assert server.wait_exit() == 0


@pytest.mark.ironhorn("its workers keep the listener open while they drain")
def test_new_connections_are_refused_while_it_drains(stage: Stage) -> None:
    server = stage.serve()
    gate = stage.gate("slow")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        begin_stop(server)
        gate.let_pass()
        assert wire.read_response().status == 200
    wait_until(lambda: refused(server), what="connections refused")


def test_over_graceful_timeout_is_killed(stage: Stage) -> None:
    server = stage.serve(graceful_timeout=1)
    gate = stage.gate("slow")
    server.allow_log(r"WORKER|SIGKILL|killed|graceful")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        started = begin_stop(server)
        assert server.wait_exit() == 0
        assert 0.9 <= time.monotonic() - started <= 1 + scaled(1.5)
        told = wire.read_to_end()
    assert told == b"" if stage.flavour.name == "gunicorn" else told.startswith(b"HTTP/1.1 504 ")


@pytest.mark.alone
@pytest.mark.ironhorn("waits for its threads")
@pytest.mark.parametrize("signum", QUICK)
def test_quick_cuts_what_is_running(stage: Stage, signum: signal.Signals) -> None:
    server = stage.serve(workers=2)
    gate = stage.gate("slow")
    server.allow_log("SystemExit", "Traceback", "ERROR")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        started = time.monotonic()
        assert server.stop(signum) == 0
        assert time.monotonic() - started < scaled(QUICKLY)


@pytest.mark.alone
@pytest.mark.ironhorn("a second TERM changes nothing, INT waits for threads")
@pytest.mark.parametrize("second", [signal.SIGTERM, *QUICK])
def test_a_second_signal_makes_it_quick(stage: Stage, second: signal.Signals) -> None:
    server = stage.serve()
    gate = stage.gate("slow")
    server.allow_log("SystemExit", "Traceback", "ERROR")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        begin_stop(server)
        started = time.monotonic()
        assert server.stop(second) == 0
        assert time.monotonic() - started < scaled(QUICKLY)


@pytest.mark.alone
@pytest.mark.ironhorn("waits for the import")
@pytest.mark.parametrize("signum", [signal.SIGTERM, *QUICK])
def test_while_it_boots(stage: Stage, signum: signal.Signals) -> None:
    """A worker that imports has nothing to finish."""
    boot = stage.gate("boot")
    server = stage.serve("slow_boot:app", ready=False, graceful_timeout=3)
    boot.wait_arrived()
    started = time.monotonic()
    assert server.stop(signum) == 0
    assert time.monotonic() - started < scaled(QUICKLY)


@pytest.mark.ironhorn("kills by its heartbeat only")
def test_a_client_that_never_finishes_its_request_does_not_hold_it_for_ever(stage: Stage) -> None:
    server = stage.serve(graceful_timeout=2, header_timeout=60, body_timeout=60)
    with server.connect() as head, server.connect() as body:
        head.send(b"GET / HTTP/1.1\r\nHost: ")
        body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        assert server.get("/hello").status == 200
        server.allow_log(r"SIGKILL|killed|graceful")
        started = begin_stop(server)
        assert server.wait_exit() == 0
        assert time.monotonic() - started <= 2 + scaled(1.5)


def test_what_the_app_has_left_to_do(stage: Stage, gate: Callable[[str], Gate]) -> None:
    """As at the end of any Python program: threads that are no daemons are waited for, then the
    functions of atexit run; and a HUP to the worker does not end that.
    """
    (stage.directory / "leaving.py").write_text(
        "import atexit, threading\n"
        "from meeting import meet, note\n"
        "from toolbox import app as toolbox\n"
        "atexit.register(note, 'left', 'atexit')\n"
        "def work():\n"
        "    meet('work')\n"
        "    note('left', 'thread')\n"
        "def app(environ, start_response):\n"
        "    threading.Thread(target=work).start()\n"
        "    return toolbox(environ, start_response)\n"
    )
    point = gate("work")
    server = stage.serve("leaving:app")
    assert server.get("/hello").status == 200
    point.wait_arrived()
    worker = server.worker()
    server.send(signal.SIGTERM)
    server.log.wait_for_line(r"\bdraining\b")
    os.kill(worker, signal.SIGHUP)
    point.let_pass()
    server.log.wait_for_line(r"\bexited reason=asked\b")
    assert (stage.directory / "left").read_text().split() == ["thread", "atexit"]
