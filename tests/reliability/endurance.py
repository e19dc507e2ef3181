"""A thousand reloads."""

from __future__ import annotations

import time
from pathlib import Path

from harness.measure import descriptors, memory, zombies
from harness.process import time_until

from .fault import Facts, fault
from .running import Running, failures
from .servers import Adapter, Wanted

RELOADS = 1000


@fault(
    "1,000 reloads in a row, each after the last is over",
    "{reloads} reloads in {seconds} s, {stalled} not over after 20 s; "
    "{failed} of {requests} requests failed; "
    "memory {before} MB → {after} MB; descriptors of the master {fds_before} → {fds_after}; "
    "zombies {zombies}",
    bound=1400,
)
def many_reloads(adapter: Adapter, directory: Path) -> Facts:
    """As many as go into the time, up to a thousand. The first three are made before the first
    figures, which then are those of a server that has reloaded.
    """
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        for _ in range(3):
            reload_wholly(running)
        begun = time.monotonic()
        first = figures(running)
        done = stalled = 0
        while (
            done < RELOADS and time.monotonic() - begun < adapter.reloads_for and not running.ended
        ):
            done += 1
            stalled += not reload_wholly(running)
        seconds = time.monotonic() - begun
        last = figures(running)
        return {
            **failures(load.report, begun),
            "reloads": done,
            "stalled": stalled,
            "seconds": seconds,
            "before": first[0],
            "after": last[0],
            "fds_before": first[1],
            "fds_after": last[1],
            "zombies": len(zombies(running.pid)),
        }


def reload_wholly(running: Running) -> bool:
    """Reloads and waits until there are new workers, all of them, and no old one."""
    before, imported = set(running.workers()), running.imports()

    def over() -> bool:
        now = set(running.workers())
        return (
            len(now) == running.wanted.workers
            and not now & before
            and (running.imports() >= imported + running.wanted.workers)
        )

    running.reload()
    return time_until(lambda: running.ended or over(), 20) is not None and not running.ended


def figures(running: Running) -> tuple[float, int]:
    """Memory of all processes in MB, and descriptors of the master."""
    return round(memory(running.members()) / 1e6, 1), descriptors(running.pid)
