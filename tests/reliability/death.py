"""KILL of everything in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from harness.measure import living
from harness.process import time_until

from .fault import Facts, fault
from .running import Running, elapsed, environment, failures, state
from .servers import Adapter, Wanted

KILLED = (
    "{failed} of {requests} requests failed; {workers} workers again after {strength} s; then: "
)
KILLED += "{state}"


def kill(pids: list[int]) -> None:
    """By pid, of the server's own processes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_workers(adapter: Adapter, directory: Path, count: int) -> Facts:
    """KILL to so many of the workers, under load."""
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        load.wait_more(100)
        before, moment = running.workers(), time.monotonic()
        kill(before[:count])
        strength = time_until(
            lambda: running.at_strength() and not set(before[:count]) & set(running.workers()), 15
        )
        answered = time_until(lambda: running.ended or running.answers(deadline=1), 10)
        time_until(lambda: running.ended or elapsed(moment) >= 5, 5)
        return {
            **failures(load.report, moment),
            "strength": strength,
            "workers": running.wanted.workers,
            "answered": answered,
            "exit_code": running.exit_code,
            "state": state(running),
        }


@fault("KILL of a worker", KILLED)
def kill_one(adapter: Adapter, directory: Path) -> Facts:
    """One of two."""
    return kill_workers(adapter, directory, 1)


@fault("KILL of all workers", KILLED)
def kill_all(adapter: Adapter, directory: Path) -> Facts:
    """Two of two."""
    return kill_workers(adapter, directory, 2)


@fault(
    "KILL of the master",
    "orphans gone after {gone} s ({left} left after 15 s, {serving}); a new server on the address: "
    "{successor}",
)
def kill_master(adapter: Adapter, directory: Path) -> Facts:
    """Without clients, so that nothing hastens the end of its workers."""
    with Running(adapter, directory, Wanted()) as running:
        kill([running.pid])
        running.process.wait()
        successor = start_again(running)
        gone = time_until(lambda: not running.members(), 15)
        return {
            "gone": gone,
            "left": len(running.members()),
            "serving": "which still answer" if running.answers(deadline=2) else "no answer",
            "successor": successor,
        }


def start_again(running: Running) -> str:
    """Starts the same command at once, and says whether it gets the address."""
    again = subprocess.Popen(
        running.adapter.command(running.wanted, running.port, running.directory),
        cwd=running.directory,
        env=environment(running.directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        again.wait(3)
    except subprocess.TimeoutExpired:
        kill([again.pid, *living(again.pid)])
        again.wait()
        return "starts"
    return f"exit code {again.returncode}"
