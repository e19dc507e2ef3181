"""What a well-behaved server is checked with: a service manager that listens, a command that goes
to the background, a directory that everybody may enter.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import Flavour, Stage
from harness.masters import Master
from harness.process import DEADLINE, descendants, kill_tree, scaled
from harness.server import APPS

BECOME_NOBODY = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"


@dataclass
class Manager:
    """The service manager's end of sd_notify(3)."""

    address: str
    socket: socket.socket
    messages: list[dict[str, str]] = field(default_factory=list)

    def receive(self, deadline: float) -> bool:
        """Takes the next message."""
        self.socket.settimeout(max(deadline, 0.001))
        try:
            text = self.socket.recv(65536).decode()
        except TimeoutError:
            return False
        self.messages.append(dict(line.split("=", 1) for line in text.splitlines()))
        return True

    def drain(self) -> list[dict[str, str]]:
        """All that was said so far."""
        while self.receive(0):
            pass
        return self.messages

    def wait_for(self, name: str, value: str | None = None, since: int = 0) -> dict[str, str]:
        """Waits for a message with this word and returns it."""
        end = time.monotonic() + scaled(DEADLINE)
        seen = since
        while True:
            for message in self.messages[seen:]:
                seen += 1
                if name in message and value in (None, message[name]):
                    return message
            left = end - time.monotonic()
            assert left > 0, f"no {name}={value} in {self.messages[since:]}"
            self.receive(left)

    def said(self, name: str, since: int = 0) -> list[str]:
        """The values of a word so far."""
        return [message[name] for message in self.drain()[since:] if name in message]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Manager]:
    """Listens at both kinds of address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        if request.param == "path":
            address = str(stage.directory / "notify")
            listener.bind(address)
        else:
            address = f"@ironhorn-test-{os.getpid()}-{id(listener)}"
            listener.bind("\0" + address[1:])
        yield Manager(address, listener)


@dataclass
class Background:
    """A command that was told to go to the background."""

    stage: Stage
    process: subprocess.Popen[bytes]

    def output(self, deadline: float = DEADLINE) -> tuple[int, str]:
        """The command's exit code and all that was written while anybody held its streams."""
        _, text = self.process.communicate(timeout=scaled(deadline))
        return self.process.returncode, text.decode()

    def master(self) -> Master:
        """The server, by its pid file."""
        return Master(int((self.stage.directory / "server.pid").read_text()))


@pytest.fixture
def background(stage: Stage, flavour: Flavour) -> Iterator[Callable[..., Background]]:
    """Starts a server with --daemon. Whatever of it still runs after the test is stopped."""
    started: list[Background] = []

    def start(app: str = "toolbox:app", *arguments: str) -> Background:
        argv = [
            *flavour.command,
            "--daemon",
            "--bind=unix:socket",
            "--pid=server.pid",
            "--error-logfile=error.log",
            *arguments,
            app,
        ]
        process = subprocess.Popen(
            argv,
            cwd=stage.directory,
            env=stage.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(Background(stage, process))
        return started[-1]

    yield start
    for background in started:
        with suppress(subprocess.TimeoutExpired):
            background.process.wait(0.01)
        if background.process.returncode is None:
            kill_tree([background.process.pid, *descendants(background.process.pid)])
        with suppress(FileNotFoundError):
            background.master().stop()
        background.process.communicate()
    Stage.wait_no_orphans()
    assert not (stage.directory / "socket").exists()


@pytest.fixture(scope="session")
def public_command() -> tuple[list[str], dict[str, str]]:
    """The command and its environment, by a Python whose library every user may read."""
    if os.geteuid() != 0:
        pytest.skip("only root can run workers as somebody else")
    spec = importlib.util.find_spec("ironhorn")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent.parent
    environment = {"PYTHONPATH": f"{APPS}:{package}"}
    plain = "/usr/bin/python{}.{}".format(*sys.version_info)
    for python in (sys.executable, plain):
        try:
            subprocess.run(
                [python, "-c", f"{BECOME_NOBODY}; import json, ironhorn, toolbox"],
                env=environment,
                cwd="/",
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return [python, "-m", "ironhorn"], environment
    pytest.skip("no Python here whose library another user may read")
