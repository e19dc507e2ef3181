"""Two masters at once: the one that was started, and the one that SIGUSR2 starts beside it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest
from harness import Server, Stage, wait_until
from harness.masters import GONE, Master
from harness.process import kill_tree


@pytest.fixture
def upgrade(stage: Stage) -> Iterator[Callable[..., Master]]:
    """Sends USR2 and waits until the new master serves, or, for one that cannot, is started."""
    started: list[Master] = []

    def begin(server: Server, workers: int | None = 1, old: int | None = None) -> Master:
        mark = server.log.mark()
        os.kill(old or server.pid, signal.SIGUSR2)
        line = server.log.wait_for_line(r"\bupgrading\b", since=mark)
        found = re.search(r"pid=(\d+)", line)
        assert found, line
        master = Master(int(found[1]))
        started.append(master)
        if workers is not None:
            server.log.wait_for_line(r"\bready after", 20, since=mark, count=workers)
            wait_until(lambda: len(master.workers()) == workers, what="the new master's workers")
        return master

    yield begin
    for server in stage.servers:
        server.allow_log(GONE)
    for master in reversed(started):
        try:
            master.stop()
        except AssertionError:
            kill_tree([master.pid, *master.workers()])
            raise
