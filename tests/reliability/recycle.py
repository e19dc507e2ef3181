"""Workers that are replaced after so many requests (or so long), while something is wrong."""

from __future__ import annotations

import time
from pathlib import Path

from harness.process import time_until

from .fault import Facts, fault
from .running import Running, failures, state
from .servers import Adapter, Wanted


@fault(
    "Recycling (max_requests), broken code on disk",
    "{failed} of {requests} requests failed; then: {state}, {workers} workers",
    bound=120,
)
def recycle_broken_code(adapter: Adapter, directory: Path) -> Facts:
    """Workers have served what they may, and their replacements cannot boot."""
    with Running(adapter, directory, Wanted(max_requests=200)) as running, running.load() as load:
        load.wait_more(50)
        running.deploy_broken()
        moment = time.monotonic()
        time_until(lambda: running.ended, adapter.recycles_within)
        return {
            **failures(load.report, moment),
            "exit_code": running.exit_code,
            "state": state(running),
            "workers": len(running.workers()),
        }


@fault(
    "Recycling (max_requests), an import of 4 s",
    "{failed} of {requests} requests failed; worst latency {worst_latency} s, {calm} s before; "
    "{replaced} workers replaced",
    bound=120,
)
def recycle_slow_import(adapter: Adapter, directory: Path) -> Facts:
    """Each replacement needs four seconds until it serves."""
    with Running(adapter, directory, Wanted(max_requests=200)) as running, running.load() as load:
        load.wait_more(50)
        calm = load.report.worst()
        running.deploy("v2", "is slow")
        before, moment = set(running.workers()), time.monotonic()
        time_until(lambda: running.ended, adapter.recycles_within)
        return {
            **failures(load.report, moment),
            "worst_latency": load.report.worst(moment),
            "calm": calm,
            "replaced": len(before - set(running.workers())),
        }
