"""The master that SIGUSR2 starts beside the one of the test."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from .process import children_of, is_alive, wait_until

# What a master that goes on says when its successor is gone, also if an operator stopped it.
GONE = r"upgrade failed, this master goes on"


def title(pid: int) -> str:
    """The command line that a process shows."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def workers_of(pid: int) -> list[int]:
    """The live workers of a master: its children, but for the new master."""
    return [child for child in children_of(pid) if title(child).startswith("ironhorn: worker")]


@dataclass
class Master:
    """The new master."""

    pid: int
    code: int | None = field(default=None)

    def workers(self) -> list[int]:
        """Its live workers."""
        return workers_of(self.pid)

    def send(self, signum: signal.Signals) -> None:
        """Signals it."""
        os.kill(self.pid, signum)

    def is_gone(self) -> bool:
        """Whether it has ended; it is reaped here if the old master has gone before."""
        if self.code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return not is_alive(self.pid)
            if pid == self.pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Stops it as an operator does."""
        if not self.is_gone():
            self.send(signum)
        wait_until(self.is_gone, what=f"the end of the new master {self.pid}")
