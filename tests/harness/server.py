"""One handle on one server: start it, wait until it is ready, signal it, look at its workers and
its log, stop it.

The test makes the listening socket itself and hands it over as `--bind fd://N`: no port is guessed,
and a client can connect before the server has started. Each server is taken down by its Stage,
which then asserts what must hold after every test: the exit code, no process left, no unexpected
error in the log, socket file and pidfile gone.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import yaml

from .process import (
    DEADLINE,
    SCALE,
    Gate,
    Log,
    children_of,
    descendants,
    is_alive,
    kill_tree,
    reap_orphans,
    scaled,
    session_of,
    title_of,
    wait_until,
)
from .wire import Address, Response, Wire

APPS = Path(__file__).parent.parent / "apps"
BAD_LINE = re.compile(
    r"\b(ERROR|CRITICAL)\b|panicked|Traceback \(most recent call last\)|fatal runtime error"
)
ZYGOTE = "ironhorn: zygote"
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "USER", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# So many threads for what is served, unless a test says otherwise: to run all tests with threads.
THREADS = os.environ.get("IRONHORN_TEST_THREADS")


class Settings(dict):
    """Settings by their names, as the server's flags."""

    SPELLED: ClassVar[dict[str, str]] = {"keepalive": "--keep-alive"}

    def flags(self) -> list[str]:
        """`workers=2` is `--workers 2`, True is the bare flag, a list repeats it, None leaves it
        out.
        """
        found: list[str] = []
        for name, value in self.items():
            flag = self.SPELLED.get(name, "--" + name.replace("_", "-"))
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if item is True:
                    found.append(flag)
                elif item is not None and item is not False:
                    found.append(f"{flag}={item}")
        return found


@dataclass(frozen=True)
class Flavour:
    """Which server is tested: ours, or Gunicorn as the reference for the harness and for what users
    expect.
    """

    name: str
    command: tuple[str, ...]
    ready: str
    serving: str
    defaults: tuple[str, ...] = ()

    @classmethod
    def find(cls, name: str) -> Flavour:
        """The command beside this Python, else on the PATH."""
        beside = Path(sys.executable).parent / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise FileNotFoundError(f"{name} is neither beside {sys.executable} nor on the PATH")
        if name == "gunicorn":
            telling = f"--config={Path(__file__).parent / 'gunicorn_conf.py'}"
            options = ("--worker-class=gthread", "--threads=8", "--no-control-socket", telling)
            return cls(name, (found,), "ready to serve", "ready to serve", options)
        return cls(name, (found,), r'pid=\d+ ready\b|"ready"', r': serving$|"serving"')


@dataclass
class Server:
    """A running server."""

    flavour: Flavour
    process: subprocess.Popen[bytes]
    directory: Path
    log: Log
    output: Log
    address: Address | None = None
    leaves_nothing_at: list[Path] = field(default_factory=list)
    expected_exit: int = 0
    allowed: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The master."""
        return self.process.pid

    def workers(self) -> list[int]:
        """The live workers, oldest first."""
        return [pid for pid in children_of(self.pid) if not title_of(pid).startswith(ZYGOTE)]

    def zygotes(self) -> list[int]:
        """The live processes that workers are forked from."""
        return [pid for pid in children_of(self.pid) if title_of(pid).startswith(ZYGOTE)]

    def worker(self) -> int:
        """The only worker."""
        (pid,) = self.workers()
        return pid

    def send(self, signum: signal.Signals) -> None:
        """Signals the master."""
        self.process.send_signal(signum)

    def connect(self, deadline: float = DEADLINE, receive_buffer: int | None = None) -> Wire:
        """A new connection."""
        assert self.address is not None
        return Wire(self.address, deadline, receive_buffer)

    def get(self, target: str = "/", *fields: str, deadline: float = DEADLINE) -> Response:
        """One GET on a connection of its own."""
        with self.connect(deadline) as wire:
            return wire.get(target, "Connection: close", *fields).read_response()

    def wait_answer(self, target: str = "/", deadline: float = DEADLINE) -> Response:
        """Waits until the server takes a connection (if it binds the socket itself) and answers."""

        def attempt() -> Response | None:
            try:
                return self.get(target, deadline=deadline)
            except (ConnectionRefusedError, FileNotFoundError):
                self.assert_running()
                return None

        return wait_until(attempt, deadline, f"an answer from {self.address}")

    def wait_ready(self, workers: int = 1, deadline: float = DEADLINE, since: int = 0) -> None:
        """Waits for so many `ready` lines."""
        self.log.wait_for_line(self.flavour.ready, deadline, since, workers)

    def wait_workers(self, count: int, deadline: float = DEADLINE) -> list[int]:
        """Waits until there are exactly so many workers."""
        wait_until(lambda: len(self.workers()) == count, deadline, f"{count} workers")
        return self.workers()

    def reload(self, deadline: float = 60) -> None:
        """HUP, and waits until the workers there were are gone: the line `reloaded` comes when they
        are told to leave, and they may take a connection until they have read that.
        """
        before, mark = set(self.workers()), self.log.mark()
        self.send(signal.SIGHUP)
        self.log.wait_for_line(r"\breloaded\b", deadline, since=mark)
        wait_until(lambda: not before & set(self.workers()), deadline, "the old workers are gone")

    def wait_exit(self, deadline: float = DEADLINE) -> int:
        """Waits until the master is gone and returns its exit code."""
        try:
            return self.process.wait(scaled(deadline))
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {scaled(deadline):.1f} s\n{self.log.text()}"
            ) from None

    def assert_running(self) -> None:
        """The master is still there."""
        code = self.process.poll()
        assert code is None, f"the server exited with {code}\n{self.log.text()}"

    def allow_log(self, *patterns: str) -> None:
        """Declares errors that this test provokes; any other one fails it."""
        self.allowed.extend(patterns)

    @contextmanager
    def complains(self, pattern: str) -> Iterator[None]:
        """The log gets a line that matches, because of what is done in the block."""
        since = self.log.mark()
        yield
        self.log.wait_for_line(pattern, since=since)

    def check_log(self, since: int = 0) -> None:
        """No error but the declared ones, on either stream."""
        lines = self.log.lines(since) + self.output.lines()
        bad = [line for line in lines if BAD_LINE.search(line) and not self._is_allowed(line)]
        assert not bad, "unexpected in the log:\n" + "\n".join(bad)

    def _is_allowed(self, line: str) -> bool:
        return any(re.search(pattern, line) for pattern in self.allowed)

    def stop(self, signum: signal.Signals = signal.SIGTERM, deadline: float = DEADLINE) -> int:
        """Stops the server as an operator does."""
        if self.process.poll() is None:
            self.send(signum)
        return self.wait_exit(deadline)

    def take_down(self) -> None:
        """Stops what still runs and asserts what must hold after every test."""
        code = self.stop()
        assert code == self.expected_exit, (
            f"exit code {code}, not {self.expected_exit}\n{self.log.text()}"
        )
        Stage.wait_no_orphans()
        assert self.log.wait_for_end(2.0), "somebody still holds the log"
        self.check_log()
        left = [str(path) for path in self.leaves_nothing_at if path.exists()]
        assert not left, f"left behind: {left}"

    def destroy(self) -> None:
        """After a failure: no assertion, but nothing survives either."""
        kill_tree([self.pid, *descendants(self.pid)] if self.process.poll() is None else [])
        self.process.wait()


class Stage:
    """What one test (or one module of tests that share a server) works with: a directory, servers
    and gates.
    """

    _known: ClassVar[dict[int, subprocess.Popen[bytes]]] = {}

    def __init__(self, flavour: Flavour, directory: Path) -> None:
        self.flavour = flavour
        self.directory = directory
        self.servers: list[Server] = []
        self._gates: list[Gate] = []
        (directory / "spool").mkdir()
        (directory / "run").mkdir(mode=0o700)

    def gate(self, name: str) -> Gate:
        """A meeting point; the app reaches it by `meeting.meet(name)`."""
        gate = Gate(self.directory, name)
        self._gates.append(gate)
        return gate

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment: nothing of the developer's own settings gets in."""
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        if THREADS:
            kept["IRONHORN_THREADS"] = THREADS
        return kept | {
            "PYTHONPATH": str(APPS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TEST_DIR": str(self.directory),
            "TMPDIR": str(self.directory / "spool"),
            # Where control sockets are: one server doesn't meet those of other tests.
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            **(extra or {}),
        }

    def serve(
        self,
        app: str | None = "toolbox:app",
        *arguments: str,
        bind: str | None = "tcp",
        ready: bool = True,
        env: Mapping[str, str] | None = None,
        config: str | None = None,
        limits: Mapping[int, int] | None = None,
        command: Iterable[str] | None = None,
        **settings: object,
    ) -> Server:
        """Starts a server and waits until all its workers are ready and the master has said so:
        what it says later could fall between two writes of a worker on the same stderr.

        `bind` is tcp, v6 or unix, or None when the arguments or the configuration say it. `config`
        is the text of an ironhorn.yaml in the start directory. `limits` are soft resource limits of
        the server.
        """
        if config is not None:
            (self.directory / "ironhorn.yaml").write_text(config)
        listener, address, bound = self._listen(bind)
        argv = [
            *(command or self.flavour.command),
            *self.flavour.defaults,
            *bound,
            *Settings(settings).flags(),
        ]
        argv += [*arguments, *([app] if app else [])]
        server = self._spawn(argv, env, limits, listener)
        server.address = address
        if bind == "unix":
            server.leaves_nothing_at.append(self.directory / "socket")
        if isinstance(pidfile := settings.get("pid"), (str, Path)):
            server.leaves_nothing_at.append(self.directory / pidfile)
        if ready:
            configured = yaml.safe_load(config).get("workers", 1) if config else 1
            server.wait_ready(int(str(settings.get("workers", configured))))
            server.log.wait_for_line(self.flavour.serving)
        return server

    def _listen(self, bind: str | None) -> tuple[socket.socket | None, Address | None, list[str]]:
        if bind is None:
            return None, None, []
        if bind == "unix":
            path = str(self.directory / "socket")
            return None, path, [f"--bind=unix:{path}"]
        listener = listen("::1" if bind == "v6" else "127.0.0.1")
        return listener, listener.getsockname()[:2], [f"--bind=fd://{listener.fileno()}"]

    def _spawn(
        self,
        argv: list[str],
        env: Mapping[str, str] | None,
        limits: Mapping[int, int] | None,
        listener: socket.socket | None,
    ) -> Server:
        error_read, error_write = os.pipe()
        output_read, output_write = os.pipe()
        process = subprocess.Popen(
            argv,
            cwd=self.directory,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=output_write,
            stderr=error_write,
            start_new_session=True,
            pass_fds=[listener.fileno()] if listener else [],
            preexec_fn=_limiter(limits),
        )
        Stage._known[process.pid] = process
        for fd in (error_write, output_write):
            os.close(fd)
        if listener is not None:
            listener.close()
        server = Server(
            self.flavour,
            process,
            self.directory,
            Log(error_read, "stderr"),
            Log(output_read, "stdout"),
        )
        self.servers.append(server)
        return server

    @classmethod
    def wait_no_orphans(cls) -> None:
        """Every process that became ours (pytest is a subreaper) and is no server that runs must be
        gone soon.
        """
        wait_until(lambda: not cls.orphans(), 3.0, "no orphan process")

    @classmethod
    def orphans(cls) -> list[int]:
        """Live processes that lost their master: children of pytest from a session of a server's.

        What a test starts beside the server, such as a proxy, is in pytest's own session.
        """
        reap_orphans(set(cls._known))
        lost = set(children_of(os.getpid())) - set(cls._known)
        return sorted(pid for pid in lost if session_of(pid) not in (os.getsid(0), 0))

    def close(self, failed: bool) -> None:
        """Takes everything down; after a failure the log is shown and the directory kept."""
        try:
            for gate in self._gates:
                gate.close()
            if not failed:
                for server in self.servers:
                    server.take_down()
        except BaseException:
            failed = True
            raise
        finally:
            for server in self.servers:
                if failed:
                    server.destroy()
                    print("---", *server.process.args)
                    print(f"--- in {server.directory}, its log:")
                    print(server.log.text())
                Stage._known.pop(server.pid, None)
            kill_tree(Stage.orphans() if failed else [])


def listen(host: str = "127.0.0.1", backlog: int = 2048) -> socket.socket:
    """A listening socket on a port that the kernel chose."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    listener.listen(backlog)
    return listener


def _limiter(limits: Mapping[int, int] | None) -> Callable[[], None] | None:
    """Sets soft limits in the child before exec (the parent has no other threads' locks that this
    could need).
    """
    if not limits:
        return None

    def limit() -> None:
        for which, soft in limits.items():
            resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))

    return limit


def run_once(
    stage: Stage,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    command: Iterable[str] | None = None,
    deadline: float = DEADLINE,
    cwd: Path | None = None,
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Runs a command that must end by itself, and gives its exit code and output."""
    done = subprocess.run(
        [*(command or stage.flavour.command), *arguments],
        cwd=cwd or stage.directory,
        env=stage.environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=scaled(deadline),
        start_new_session=True,
        umask=umask,
    )
    assert "panicked" not in done.stderr, done.stderr
    Stage.wait_no_orphans()
    return done


__all__ = ["SCALE", "Flavour", "Server", "Settings", "Stage", "is_alive", "listen", "run_once"]
