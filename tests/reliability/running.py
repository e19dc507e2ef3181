"""One server that runs for a fault: its app on disk, its processes, its log, its clients."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import BadResponse, Load, Log, Report, Wire, children_of, request
from harness.measure import living
from harness.process import kill_tree, reap_orphans, time_until, wait_until
from tls.certificates import TlsWire

from .servers import Adapter, Wanted

APPS = Path(__file__).parent.parent / "apps"
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
NOT_A_WORKER = re.compile(rb"resource_tracker|zygote")


class Ended(Exception):
    """The server did not start."""


class Running:
    """A server under measurement; leaving the context kills whatever is left of it."""

    def __init__(
        self, adapter: Adapter, directory: Path, wanted: Wanted, trouble: str = ""
    ) -> None:
        self.adapter, self.directory, self.wanted = adapter, directory, wanted
        self.port = free_port()
        self._trust = (
            ssl.create_default_context(cafile=str(wanted.tls / "ca.pem")) if wanted.tls else None
        )
        self._wires: list[Wire] = []
        self.deploy("v1", trouble)
        if wanted.configured:
            self.configure(adapter.sound)
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            adapter.command(wanted, self.port, directory),
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        self.pid = self.process.pid
        self.log = Log(reading, adapter.title)

    def __enter__(self) -> Running:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        importing = 1 if self.wanted.preload else self.wanted.workers
        ready = time_until(
            lambda: self.ended or (self.imports() >= importing and self.answers()), 20
        )
        if ready is None or self.ended:
            code = self.process.poll()
            raise Ended(f"exit code {code}: {' | '.join(self.log.lines()[-3:])}")

    def __exit__(self, *_: object) -> None:
        # The time of a fault may be over just now: what is left is ended all the same.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            for wire in self._wires:
                wire.close()
            wait_until(self._end, what=f"{self.adapter.title} is gone")
            self.process.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _end(self) -> bool:
        """Kills all that is left; who was forked meanwhile has the next turn."""
        left = self.members()
        kill_tree(left)
        return not left

    # The disk

    def deploy(self, version: str, trouble: str = "") -> None:
        """New code, put there at once as a deploy does."""
        self.write("shop.py", f"from plain import make\n\napp = make({version!r}, {trouble!r})\n")

    def deploy_broken(self) -> None:
        """Code that cannot be compiled."""
        self.write("shop.py", "def app(:\n")

    def configure(self, text: str) -> None:
        """Replaces the configuration file."""
        self.write(self.adapter.config_name, text)

    def write(self, name: str, text: str) -> None:
        """Replaces a file atomically."""
        new = self.directory / f"{name}.new"
        new.write_text(text)
        new.rename(self.directory / name)

    def imports(self) -> int:
        """How often the app was imported."""
        file = self.directory / "imports"
        return len(file.read_text().splitlines()) if file.exists() else 0

    # Its processes

    @property
    def ended(self) -> bool:
        """Whether the process that was started is gone."""
        return self.process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def workers(self) -> list[int]:
        """Its children, without the helpers that some have."""
        return [pid for pid in children_of(self.pid) if not NOT_A_WORKER.search(command_of(pid))]

    def members(self) -> list[int]:
        """Every process of its session, orphans too."""
        reap_orphans({self.pid})
        return living(self.pid)

    def at_strength(self) -> bool:
        """Whether there are as many workers as there should be."""
        return len(self.workers()) == self.wanted.workers

    def reload(self) -> None:
        """Has it take new code and settings."""
        self.adapter.reload(self.pid, self.directory)

    def send(self, signum: signal.Signals) -> None:
        """Signals the master."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    # Its clients

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def connect(self, deadline: float = 5) -> Wire:
        """A new connection, over TLS where the server is to speak it."""
        if self._trust is None:
            return Wire(self.address, deadline)
        return TlsWire(self.address, self._trust, deadline=deadline)

    def ask(self, target: str = "/", deadline: float = 5) -> str:
        """One GET on a connection of its own: the body, or what went wrong."""
        try:
            with self.connect(deadline) as wire:
                wire.send(request("GET", target, "Connection: close"))
                response = wire.read_response()
                return response.body.decode() if response.status == 200 else str(response.status)
        except (OSError, BadResponse) as error:
            return type(error).__name__

    def answers(self, version: str = "v", deadline: float = 5) -> bool:
        """Whether it answers with this version."""
        return self.ask(deadline=deadline).startswith(version)

    def begin(self, target: str) -> Wire:
        """Sends a request whose answer is awaited later; closed when the context is left."""
        return self.begin_with(request("GET", target, "Connection: close"))

    def begin_with(self, data: bytes) -> Wire:
        """The same with any bytes."""
        self._wires.append(Wire(self.address, 30))
        return self._wires[-1].send(data)

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Steady clients: half of them keep their connection, where the server does."""
        kept = 4 if self.adapter.keeps_alive and self.wanted.workers > 1 else 0
        with Load(self.address, keep_alive=kept, one_request=8 - kept) as load:
            yield load


def state(running: Running) -> str:
    """Whether it still serves, and what."""
    if running.ended:
        return f"ended with exit code {running.exit_code}"
    asked = [running.ask() for _ in range(6)]
    versions = sorted({answer.split()[0] for answer in asked})
    return (
        "serves " + " and ".join(versions)
        if all(a[:1] == "v" for a in asked)
        else ("does not serve: " + ", ".join(sorted(set(asked))))
    )


def failures(report: Report, since: float = 0.0) -> dict[str, int]:
    """The requests since a moment, and how many of them were not answered with 200."""
    good = [s for s in report.samples if s.ended >= since and s.status == 200]
    bad = [s for s in report.samples if s.ended >= since and s.status != 200]
    lost = [f for f in report.failures if f.at >= since]
    return {"requests": len(good) + len(bad) + len(lost), "failed": len(bad) + len(lost)}


def free_port() -> int:
    """A port that the kernel just gave out and that is free again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(directory: Path) -> dict[str, str]:
    """A clean environment in which the app is found."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return kept | {
        "PYTHONPATH": f"{directory}:{APPS}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TEST_DIR": str(directory),
    }


def command_of(pid: int) -> bytes:
    """The command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def elapsed(since: float) -> float:
    """Seconds since a moment."""
    return round(time.monotonic() - since, 2)
