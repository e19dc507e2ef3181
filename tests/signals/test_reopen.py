"""USR1: logs are opened again by their names, in the workers too (what logrotate needs)."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Server, Stage, wait_until


@pytest.fixture
def server(stage: Stage) -> Server:
    server = stage.serve(
        workers=2, error_logfile="error.log", access_logfile="access.log", ready=False
    )
    server.wait_answer("/hello")
    server.wait_workers(2)
    return server


def rotate(server: Server, *names: str) -> None:
    for name in names:
        os.rename(server.directory / name, server.directory / f"{name}.1")
    server.send(signal.SIGUSR1)
    for name in names:
        wait_until((server.directory / name).exists, what=f"a new {name}")


def all_reopened(server: Server, name: str) -> bool:
    """No process of the server has the old file open any more."""
    for pid in (server.pid, *server.workers()):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") == str(server.directory / f"{name}.1"):
                    return False
            except FileNotFoundError:
                continue
    return True


def test_both_logs_move_on(server: Server) -> None:
    rotate(server, "error.log", "access.log")
    for name in ("error.log", "access.log"):
        wait_until(lambda name=name: all_reopened(server, name), what=f"{name}.1 is let go")
    old = {
        name: (server.directory / f"{name}.1").stat().st_size
        for name in ("error.log", "access.log")
    }
    for _ in range(20):
        assert server.get("/hello?after").status == 200
    access = server.directory / "access.log"
    wait_until(lambda: access.read_text().count("after") == 20, what="20 lines in the new file")
    server.send(signal.SIGTTIN)
    server.wait_workers(3)
    wait_until((server.directory / "error.log").read_text, what="lines in the new file")
    assert old == {name: (server.directory / f"{name}.1").stat().st_size for name in old}


@pytest.mark.ironhorn("USR1 waits for the request")
def test_reopening_interrupts_no_request(stage: Stage) -> None:
    server = stage.serve(access_logfile="access.log")
    gate = stage.gate("slow")
    with server.connect() as wire:
        wire.get("/meet?slow")
        gate.wait_arrived()
        os.rename(stage.directory / "access.log", stage.directory / "access.log.1")
        server.send(signal.SIGUSR1)
        os.kill(server.worker(), signal.SIGUSR1)
        gate.let_pass()
        assert wire.read_response().body == b"passed\n"
    wait_until((stage.directory / "access.log").exists)


def test_usr1_to_a_worker_alone(server: Server) -> None:
    """Also straight from `pkill -USR1`."""
    os.rename(server.directory / "access.log", server.directory / "access.log.1")
    for pid in server.workers():
        os.kill(pid, signal.SIGUSR1)
    wait_until((server.directory / "access.log").exists, what="a new access.log")
    assert server.get("/hello").status == 200


def test_usr1_with_logs_on_the_standard_streams(stage: Stage) -> None:
    server = stage.serve(access_logfile="-")
    for _ in range(3):
        server.send(signal.SIGUSR1)
        assert server.get("/hello").status == 200
    server.output.wait_for_line("GET /hello", count=3)
