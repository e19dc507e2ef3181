"""The service manager: sockets that it passes, and what it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Server, Stage, wait_until
from harness.masters import GONE, Master, title
from harness.process import children_of, holds_for
from harness.server import APPS

pytestmark = pytest.mark.ironhorn("says less")


def serve(stage: Stage, manager, app: str = "toolbox:app", **settings: object) -> Server:
    env = {"NOTIFY_SOCKET": manager.address, **settings.pop("env", {})}
    return stage.serve(app, env=env, **settings)


def test_ready_when_it_serves(stage: Stage, manager) -> None:
    gate = stage.gate("boot")
    server = serve(stage, manager, "slow_boot:app", workers=2, ready=False)
    gate.wait_arrived(2)
    assert manager.said("READY") == []
    gate.let_pass()
    message = manager.wait_for("READY", "1")
    assert message["MAINPID"] == str(server.pid)
    assert server.get("/hello").status == 200
    gate.let_pass()
    server.wait_ready(2)
    assert manager.said("READY") == ["1"]
    assert manager.said("STATUS")[-1] == "2 workers, generation 1"


def test_a_reload(stage: Stage, manager) -> None:
    server = serve(stage, manager)
    manager.wait_for("READY")
    since, before = len(manager.drain()), time.monotonic_ns() // 1000
    server.send(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING", "1", since)
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    ready = manager.wait_for("READY", "1", since)
    assert manager.messages.index(ready) > manager.messages.index(reloading)
    manager.wait_for("STATUS", "1 worker, generation 2", since)


def test_a_reload_that_fails(stage: Stage, manager) -> None:
    """The service manager waits for the end of a reload also where none begins."""
    server = serve(stage, manager, config="workers: 1\n")
    server.allow_log("reload failed")
    manager.wait_for("READY")
    since = len(manager.drain())
    (stage.directory / "ironhorn.yaml").write_text("wrokers: 1\n")
    server.send(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING", "1", since)
    ready = manager.wait_for("READY", "1", since)
    assert manager.messages.index(ready) > manager.messages.index(reloading)
    assert "reload failed" in manager.wait_for("STATUS", None, since)["STATUS"]


def test_the_end(stage: Stage, manager) -> None:
    server = serve(stage, manager)
    manager.wait_for("READY")
    assert server.stop() == 0
    assert manager.said("STOPPING") == ["1"]


def test_the_watchdog(stage: Stage, manager) -> None:
    server = serve(stage, manager, env={"WATCHDOG_USEC": "400000"})
    manager.wait_for("READY")
    since, started = len(manager.drain()), time.monotonic()
    for _ in range(5):
        manager.wait_for("WATCHDOG", "1", since)
        since = len(manager.messages)
    assert time.monotonic() - started >= 0.6, "more often than twice in the time"
    # One that hangs is silent.
    server.send(signal.SIGSTOP)
    manager.drain()
    since = len(manager.messages)
    holds_for(lambda: not manager.said("WATCHDOG", since), 0.5, "no sign of life")
    server.send(signal.SIGCONT)
    manager.wait_for("WATCHDOG", "1", since)


def test_a_watchdog_of_somebody_else(stage: Stage, manager) -> None:
    serve(stage, manager, env={"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
    manager.wait_for("READY")
    holds_for(lambda: not manager.said("WATCHDOG"), 0.3, "nothing to a watchdog of another's")


def test_the_app_is_not_told(stage: Stage, manager) -> None:
    """What was meant for the server is not passed on to programs that the app starts."""
    server = serve(stage, manager, env={"WATCHDOG_USEC": "1000000"})
    seen = json.loads(server.get("/environment").body)["env"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} & set(seen)


def test_a_manager_that_is_gone(stage: Stage) -> None:
    server = stage.serve(env={"NOTIFY_SOCKET": str(stage.directory / "nobody")})
    assert server.get("/hello").status == 200


def upgraded(old: int) -> Master:
    def successor() -> list[int]:
        return [pid for pid in children_of(old) if title(pid).startswith("ironhorn: master")]

    os.kill(old, signal.SIGUSR2)
    (pid,) = wait_until(successor, what="a new master")
    return Master(pid)


def test_an_upgrade(stage: Stage, manager) -> None:
    """The service is the new process, and the old one's end is not its end."""
    server = serve(stage, manager)
    manager.wait_for("READY")
    since = len(manager.drain())
    master = upgraded(server.pid)
    assert manager.wait_for("READY", "1", since)["MAINPID"] == str(master.pid)
    assert server.stop() == 0
    assert manager.said("STOPPING") == []
    master.stop()
    assert manager.said("STOPPING") == ["1"]


def test_an_upgrade_that_is_taken_back(stage: Stage, manager) -> None:
    server = serve(stage, manager)
    server.allow_log(GONE)
    manager.wait_for("READY")
    since = len(manager.drain())
    master = upgraded(server.pid)
    manager.wait_for("MAINPID", str(master.pid), since)
    master.stop()
    manager.wait_for("MAINPID", str(server.pid), since)
    assert manager.said("STOPPING") == []


@pytest.fixture
def activated(stage: Stage) -> Callable[..., Server]:
    """A server that is passed a TCP socket, and unix sockets with these names."""

    def start(*arguments: str, sockets: tuple[str, ...] = (), **settings: object) -> Server:
        port = stage.directory / "port"
        launcher = [sys.executable, str(APPS / "activate.py"), str(port), *sockets, "--"]
        server = stage.serve(
            "toolbox:app",
            *arguments,
            bind=None,
            command=[*launcher, *stage.flavour.command],
            **settings,
        )
        server.address = ("127.0.0.1", int(port.read_text()))
        return server

    return start


def test_sockets_are_passed(stage: Stage, activated) -> None:
    server = activated(sockets=("passed",))
    assert server.get("/hello").status == 200
    server.log.wait_for_line("listening address=fd://3")
    server.log.wait_for_line("listening address=fd://4")
    seen = json.loads(server.get("/environment").body)["env"]
    assert not [name for name in seen if name.startswith("LISTEN_")]
    server.address = str(stage.directory / "passed")
    assert server.get("/hello").status == 200
    with server.complains("reloaded"):
        server.send(signal.SIGHUP)
    assert server.get("/hello").status == 200
    assert server.stop() == 0
    # It is the service manager's.
    assert (stage.directory / "passed").exists()


def test_bind_outdoes_sockets(activated) -> None:
    server = activated("--bind=127.0.0.1:0")
    server.log.wait_for_line("sockets that were passed are not used")
    server.log.wait_for_line(r"listening address=127\.0\.0\.1:\d+")
    assert not server.log.matching("fd://3")


def test_sockets_of_somebody_else(stage: Stage) -> None:
    server = stage.serve(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert not server.log.matching("fd://3|not used")
    assert server.get("/hello").status == 200


def test_an_upgrade_with_sockets(stage: Stage, activated) -> None:
    """Twice, as the second new master is told by the first."""
    server = activated(sockets=("passed",))
    first = upgraded(server.pid)
    server.log.wait_for_line(r"\bready after", count=2)
    assert server.stop() == 0
    assert server.get("/hello").status == 200
    second = upgraded(first.pid)
    server.log.wait_for_line(r"\bready after", count=3)
    first.stop()
    assert server.get("/hello").status == 200
    server.address = str(stage.directory / "passed")
    assert server.get("/hello").status == 200
    assert len(server.log.matching("listening address=fd://4")) == 3
    seen = json.loads(server.get("/environment").body)["env"]
    assert not [name for name in seen if name.startswith(("IRONHORN_", "LISTEN_"))]
    second.stop()


def test_passed_sockets_are_closed_on_exec(activated) -> None:
    server = activated()
    flags = Path(f"/proc/{server.pid}/fdinfo/3").read_text()
    line = next(line for line in flags.splitlines() if line.startswith("flags:"))
    assert int(line.split()[1], 8) & 0o2000000
