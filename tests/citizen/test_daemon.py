"""--daemon: in the background, and the command returns when the server serves."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Stage, wait_until
from harness.masters import Master, title
from harness.process import children_of, holds_for
from harness.wire import Wire

pytestmark = pytest.mark.ironhorn("returns before it serves")

STANDARD = (0, 1, 2)


def hello(stage: Stage) -> bytes:
    with Wire(str(stage.directory / "socket")) as wire:
        return wire.get("/hello", "Connection: close").read_response().body


def stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def streams(pid: int) -> set[str]:
    return {os.readlink(f"/proc/{pid}/fd/{number}") for number in STANDARD}


def test_the_command_returns_when_the_server_serves(stage: Stage, background) -> None:
    gate = stage.gate("boot")
    command = background("slow_boot:app")
    gate.wait_arrived()
    holds_for(lambda: command.process.poll() is None, 0.3, "the command waits")
    gate.let_pass()
    assert command.output() == (0, "")
    assert hello(stage) == b"hello\n"
    master = command.master()
    assert f"pid={master.pid} starting" in (stage.directory / "error.log").read_text()
    master.stop()
    assert master.code == 0
    assert not (stage.directory / "server.pid").exists()


def test_no_terminal(stage: Stage, background) -> None:
    """A session of its own that it does not lead, so that no terminal becomes its own."""
    command = background("toolbox:app", "--workers=2")
    assert command.output() == (0, "")
    master = command.master()
    assert os.getsid(master.pid) not in (os.getsid(0), master.pid, command.process.pid)
    wait_until(lambda: len(master.workers()) == 2, what="two workers")
    for pid in (master.pid, *master.workers()):
        assert stat(pid)[4] == "0", "it has a terminal"
        wait_until(lambda pid=pid: streams(pid) == {"/dev/null"}, what=f"nothing held by {pid}")
    assert os.readlink(f"/proc/{master.pid}/cwd") == str(stage.directory)


def test_workers_forked_before_it_serves_let_go_too(stage: Stage, background) -> None:
    """The second worker boots while the first one serves already."""
    gate = stage.gate("boot")
    command = background("slow_boot:app", "--workers=2")
    gate.wait_arrived(2)
    gate.let_pass()
    assert command.process.wait(10) == 0
    gate.let_pass()
    assert command.output() == (0, "")
    assert hello(stage) == b"hello\n"


@pytest.mark.parametrize(
    ("app", "arguments", "code", "message"),
    [
        ("broken:app", [], 3, "RuntimeError: broken on purpose"),
        ("nowhere:app", [], 4, "nowhere"),
        ("toolbox:app", ["--bind=unix:taken"], 1, "already in use"),
        ("toolbox:app", ["--workers=none"], 2, "workers"),
        ("toolbox:app", ["--user=no-such-user"], 2, "no-such-user"),
    ],
)
def test_why_it_does_not_start(
    stage: Stage, background, app: str, arguments: list[str], code: int, message: str
) -> None:
    (stage.directory / "broken.py").write_text("raise RuntimeError('broken on purpose')\n")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(stage.directory / "taken"))
        taken.listen()
        # Also what is logged: the log file has it, and who waits must not have to look there.
        command = background(app, "--error-logfile=-", *arguments)
        returned, text = command.output()
    assert (returned, message in text) == (code, True), text
    assert not (stage.directory / "server.pid").exists()
    Stage.wait_no_orphans()


@pytest.mark.parametrize("arguments", [[], ["--preload"], ["--capture-output"]])
def test_why_it_does_not_start_is_told_beside_the_log(
    stage: Stage, background, arguments: list[str]
) -> None:
    (stage.directory / "broken.py").write_text("raise RuntimeError('broken on purpose')\n")
    code, text = background("broken:app", *arguments).output()
    assert code == 3
    (line,) = text.splitlines()
    assert line.startswith("ironhorn: the server did not start: boot failure: "), text
    assert "RuntimeError: broken on purpose" in line
    assert line.endswith("; see error.log"), text


def server_of(command) -> Master:
    """The server that does not serve yet: it writes its pid file when it has bound."""
    pidfile = command.stage.directory / "server.pid"
    wait_until(pidfile.exists, what="the pid file")
    return command.master()


def test_who_interrupts_the_command_stops_the_server(stage: Stage, background) -> None:
    gate = stage.gate("boot")
    command = background("slow_boot:app")
    gate.wait_arrived()
    master = server_of(command)
    command.process.send_signal(signal.SIGINT)
    assert command.output()[0] == 1
    wait_until(master.is_gone, what="the end of the server")
    assert not (stage.directory / "server.pid").exists()


def test_a_server_that_is_killed_before_it_serves(stage: Stage, background) -> None:
    gate = stage.gate("boot")
    command = background("slow_boot:app")
    gate.wait_arrived()
    master = server_of(command)
    master.send(signal.SIGKILL)
    code, text = command.output()
    assert code == 1
    assert "ended before it served" in text
    wait_until(master.is_gone, what="the end of the server")
    (stage.directory / "socket").unlink()
    (stage.directory / "server.pid").unlink()


def test_what_the_app_prints(stage: Stage, background) -> None:
    """To who waits, as long as anybody does; then to the log file if it takes it."""
    (stage.directory / "printing.py").write_text(
        "import sys\nfrom toolbox import app\nprint('at import', file=sys.stderr, flush=True)\n"
    )
    command = background("printing:app")
    assert command.output() == (0, "at import\n")
    command.master().stop()
    command = background("printing:app", "--capture-output")
    assert command.output() == (0, "")
    assert "at import" in (stage.directory / "error.log").read_text()
    worker = command.master().workers()[0]
    assert os.readlink(f"/proc/{worker}/fd/1") == str(stage.directory / "error.log")


def test_an_upgrade_in_the_background(
    stage: Stage, background, one_more: Callable[[Master], Master]
) -> None:
    command = background("toolbox:app")
    assert command.output() == (0, "")
    old = command.master()
    new = one_more(old)
    assert os.getsid(new.pid) == os.getsid(old.pid)
    old.stop()
    assert hello(stage) == b"hello\n"
    assert streams(new.pid) == {"/dev/null"}


@pytest.fixture
def one_more() -> Callable[[Master], Master]:
    """Sends USR2 and finds the new master, once it has a worker."""

    def upgrade(old: Master) -> Master:
        old.send(signal.SIGUSR2)

        def successor() -> list[int]:
            children = set(children_of(old.pid)) - set(old.workers())
            return [pid for pid in children if title(pid).startswith("ironhorn: master")]

        (pid,) = wait_until(successor, what="a new master")
        new = Master(pid)
        ready = "generation 1, ready"
        wait_until(lambda: [w for w in new.workers() if ready in title(w)], what="its worker")
        return new

    return upgrade
