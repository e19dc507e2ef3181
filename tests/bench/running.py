"""A server under measurement: started on its cores, and ended whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.process import kill_tree, reap_orphans, time_until
from reliability.running import free_port

from .cores import Cores
from .measuring import tree
from .servers import HERE, HOST, Adapter, Wanted

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
STARTING = 20.0
ENDING = 3.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Ended(Exception):
    """The server did not start, or is gone."""


class Running:
    """A context: the server answers when it is entered, and no process is left when it is left."""

    def __init__(self, adapter: Adapter, wanted: Wanted, directory: Path, cores: Cores) -> None:
        self.adapter, self.wanted, self.cores = adapter, wanted, cores
        self.port = free_port()
        self.log = directory / "log"
        command = adapter.command(wanted, self.port, directory)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment(adapter, wanted),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=pinned(cores.server),
            )
        self.pid = self.process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return HOST, self.port

    def wait(self, answers: Callable[[], bool]) -> None:
        """Until it answers; raises Ended."""
        ready = time_until(lambda: self.process.poll() is not None or answers(), STARTING)
        if self.process.poll() is not None:
            raise Ended(f"exit code {self.process.returncode}: {self.said()}")
        if ready is None:
            raise Ended(f"no answer within {STARTING:.0f} s")

    def said(self) -> str:
        """The last line of its log that names an error, or the last one."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["nothing in the log"])[-1].strip()[:200]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        members = tree(self.pid)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        time_until(lambda: self.process.poll() is not None, ENDING)
        # Only those that were seen as its own: by now a number may be somebody else's.
        kill_tree([pid for pid in tree(self.pid) if pid in members or pid == self.pid])
        self.process.wait()
        time_until(lambda: self.gone(members), ENDING)

    def gone(self, members: list[int]) -> bool:
        """Whether nothing of it is left; kills what was orphaned."""
        reap_orphans({self.pid})
        left = [pid for pid in tree(self.pid) if pid != self.pid]
        kill_tree(left)
        return not left


def environment(adapter: Adapter, wanted: Wanted) -> dict[str, str]:
    """A clean environment, in which the apps are found."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    own = adapter.environment(wanted)
    path = [own.pop("PYTHONPATH", ""), str(HERE / "apps")]
    return (
        kept
        | {
            "PYTHONPATH": ":".join(part for part in path if part),
            "PYTHONUNBUFFERED": "1",
            "BENCH_FILES": str(wanted.files),
        }
        | own
    )


def pinned(cores: frozenset[int]) -> Callable[[], None]:
    """What a child does before it becomes another program: keeps to its cores, and is killed
    should the bench be killed, which can't clean up then.
    """

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare
