"""Logs that take nothing more: a FIFO that nobody reads and that is full. Serving goes on, and so
does the master; lines may be lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from harness import Server, Stage, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]


class Fifo:
    """A log that is read by nobody, which the test can fill."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def empty(self) -> bytes:
        """Reads all that there is."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                data += os.read(self._end, 1 << 20)
        return data

    def fill(self) -> None:
        """Until not one byte more fits."""
        for size in (4096, 1):
            try:
                while True:
                    os.write(self._end, b"x" * size)
            except BlockingIOError:
                continue


def test_an_error_log_that_is_full(stage: Stage) -> None:
    """The master reloads, replaces and stops as ever: it never blocks."""
    fifo = Fifo(stage.directory / "errors")
    server = stage.serve(error_logfile=fifo.path, workers=2, ready=False)
    check_that_all_goes_on(server, fifo)


def test_an_error_stream_that_is_full(stage: Stage) -> None:
    """The same with a standard error that whoever started the server reads no more."""
    fifo = Fifo(stage.directory / "errors")
    command = streaming(stage, f"2>{fifo.path}")
    server = stage.serve(command=command, workers=2, ready=False)
    check_that_all_goes_on(server, fifo)


def streaming(stage: Stage, redirection: str) -> list[str]:
    return ["sh", "-c", f'exec "$@" {redirection}', "sh", *stage.flavour.command]


def check_that_all_goes_on(server: Server, fifo: Fifo) -> None:
    server.wait_answer("/hello")
    server.wait_workers(2)
    fifo.fill()
    old = set(server.workers())
    server.send(signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()), what="new workers")
    server.wait_workers(2)
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2, what="the dead worker is replaced")
    assert server.get("/hello").status == 200
    fifo.empty()
    server.send(signal.SIGTTIN)
    server.wait_workers(3)
    lost = rb"WARN ironhorn: lines lost count=[1-9]\d*\n"
    wait_until(lambda: re.search(lost, fifo.empty()), what="lines that were lost")
    fifo.fill()
    assert server.stop() == 0


@pytest.mark.parametrize("setting", ["access_logfile", "error_logfile"])
def test_a_log_whose_reader_has_died(stage: Stage, setting: str) -> None:
    """The master opens a FIFO that nobody reads wherever it opens a log, and waits for nobody."""
    path = stage.directory / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    gate = stage.gate("request")
    server = stage.serve(ready=False, **{setting: path})
    server.allow_log("worker died", "cannot write the access log")
    server.wait_answer("/hello")
    os.close(reader)
    server.send(signal.SIGUSR1)
    old = set(server.workers())
    server.send(signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()), what="new workers")
    with server.connect() as wire:
        wire.get("/meet?request")
        gate.wait_arrived()
        killed = server.worker()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: server.workers() not in ([], [killed]), what="another worker")
    server.wait_answer("/hello")
    assert server.stop() == 0


def test_an_access_log_that_is_full(stage: Stage) -> None:
    """Every request is answered."""
    fifo = Fifo(stage.directory / "accesses")
    server = stage.serve(access_logfile=fifo.path, workers=2)
    check_that_all_are_answered(server, fifo)


def test_an_output_that_is_full(stage: Stage) -> None:
    """The same with the access log on a standard output that nobody reads any more."""
    fifo = Fifo(stage.directory / "accesses")
    command = streaming(stage, f">{fifo.path}")
    server = stage.serve(command=command, access_logfile="-", workers=2)
    check_that_all_are_answered(server, fifo)


def check_that_all_are_answered(server: Server, fifo: Fifo) -> None:
    fifo.fill()
    with server.complains(r"WARN ironhorn: .* access log lines lost"):
        for _ in range(10):
            assert server.get("/hello", deadline=3).status == 200
    fifo.empty()
    assert server.get("/hello?again").status == 200
    wait_until(lambda: b"/hello?again" in fifo.empty(), what="its line")
    assert server.stop() == 0
