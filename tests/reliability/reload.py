"""Faults of a reload: what is on the disk is broken, or slow, or needs more than a fork."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from harness import Load, Report
from harness.process import time_until

from .fault import Facts, fault
from .running import Running, failures, state
from .servers import Adapter, Lacking, Wanted

AND_THEN = (
    "{failed} of {requests} requests failed; then: {state}, {workers} workers; after a second "
)
AND_THEN += "reload with good code: {mended}"


def after_reload(running: Running, load: Load, settle: float) -> dict[str, object]:
    """Reloads, gives the server time, and looks at what its clients saw and at what is left."""
    moment = time.monotonic()
    running.reload()
    time_until(lambda: running.ended, settle)
    report = load.report
    return {
        **failures(report, moment),
        "silence": silence(report, moment),
        "exit_code": running.exit_code,
        "state": state(running),
        "workers": len(running.workers()),
    }


def silence(report: Report, since: float) -> float:
    """The longest time in which no client got an answer."""
    ends = sorted(sample.ended for sample in report.samples if sample.ended >= since)
    return max(b - a for a, b in pairwise([since, *ends, time.monotonic()]))


def mended(running: Running) -> str:
    """What a reload with good code gives."""
    if running.ended:
        return "no server to be reloaded"
    running.deploy("v9")
    running.reload()
    took = time_until(lambda: running.answers("v9", 1), 15)
    return "serves v9" if took is not None else state(running)


@fault("Reload, the new code has a syntax error", AND_THEN)
def reload_broken_code(adapter: Adapter, directory: Path) -> Facts:
    """v1 serves; what is deployed cannot be compiled."""
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        load.wait_more(100)
        running.deploy_broken()
        facts = after_reload(running, load, 8)
        return {**facts, "mended": mended(running)}


@fault("Reload, the configuration file is broken", AND_THEN)
def reload_broken_config(adapter: Adapter, directory: Path) -> Facts:
    """The number of workers is no number, or the setting is misspelt."""
    if not adapter.config_name:
        raise Lacking("no configuration file that a reload reads")
    with Running(adapter, directory, Wanted(configured=True)) as running, running.load() as load:
        load.wait_more(100)
        running.configure(adapter.broken)
        facts = after_reload(running, load, 8)
        if not running.ended:
            running.configure(adapter.sound)
        return {**facts, "mended": mended(running)}


@fault(
    "Reload, the import of the new code hangs",
    "within 10 s {requests} requests, {failed} of them failed, longest time without an answer "
    "{silence} s; then: {state}; after a second reload with good code: {mended}",
    bound=120,
)
def reload_hung_import(adapter: Adapter, directory: Path) -> Facts:
    """The new code waits for ever at import. Ironhorn has a boot_timeout, here 6 s."""
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        load.wait_more(100)
        running.deploy("v2", "hangs")
        facts = after_reload(running, load, 10)
        return {**facts, "mended": mended(running)}


@fault(
    "Reload, the import of the new code takes 4 s",
    "{failed} of {requests} requests failed; worst latency {worst_latency} s, {calm} s before; new "
    "code after {took} s",
)
def reload_slow_import(adapter: Adapter, directory: Path) -> Facts:
    """How long the longest of the clients waits while the new code is imported."""
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        load.wait_more(200)
        calm = load.report.worst()
        running.deploy("v2", "is slow")
        moment = time.monotonic()
        running.reload()
        took = time_until(lambda: only(load, b"v2"), 40)
        return {
            **failures(load.report, moment),
            "worst_latency": load.report.worst(moment),
            "calm": calm,
            "took": took,
        }


def only(load: Load, version: bytes) -> bool:
    """Whether the answers of the last second are all of this version."""
    bodies = load.report.bodies(time.monotonic() - 1)
    return bool(bodies) and all(body.startswith(version) for body in bodies)


@fault(
    "Reload with preload, new code",
    "{failed} of {requests} requests failed; 10 s later: {state}",
)
def reload_preload(adapter: Adapter, directory: Path) -> Facts:
    """Which version serves after the reload."""
    wanted = Wanted(preload=True)
    with Running(adapter, directory, wanted) as running, running.load() as load:
        load.wait_more(100)
        running.deploy("v2")
        moment = time.monotonic()
        running.reload()
        time_until(lambda: running.ended or only(load, b"v2"), 10)
        return {**failures(load.report, moment), "state": state(running)}


@fault(
    "Upgrade (USR2), the new code is broken",
    "{failed} of {requests} requests failed; then: {state}, {workers} workers, {members} processes",
)
def upgrade_broken(adapter: Adapter, directory: Path) -> Facts:
    """A new master is started beside the old one, and cannot boot its app."""
    if adapter.upgrade_signal is None:
        raise Lacking("no upgrade by a signal")
    with Running(adapter, directory, Wanted()) as running, running.load() as load:
        load.wait_more(100)
        running.deploy_broken()
        moment = time.monotonic()
        running.send(adapter.upgrade_signal)
        time_until(lambda: running.ended, 8)
        return {
            **failures(load.report, moment),
            "state": state(running),
            "workers": len(running.workers()),
            "members": len(running.members()),
        }
