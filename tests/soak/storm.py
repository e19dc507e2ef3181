"""The soak: what is done to the server and when, what is measured, and what must hold."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.measure import descriptors, living, memory, shared_mappings, zombies
from harness.process import time_until
from reliability.running import Running
from reliability.servers import Ironhorn, Wanted

from .clients import Client, Killed, percentile

WORKERS = 4
RELOAD_EVERY = 5.0
KILL_EVERY = 7.0
RESIZE_EVERY = 11.0
MEASURE_EVERY = 1.0


@dataclass
class Sample:
    """The server at one moment."""

    at: float
    processes: int
    memory: int
    master_memory: int
    descriptors: int
    shared_mappings: int
    zombies: int


@dataclass
class Result:
    """What the soak gave."""

    seed: int
    seconds: float
    requests: int = 0
    excused: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    worst_latency: float = 0.0
    median_latency: float = 0.0
    p99_latency: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    before: Sample | None = None
    after: Sample | None = None
    first_quarter: dict[str, float] = field(default_factory=dict)
    last_quarter: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None
    broken: list[str] = field(default_factory=list)
    """The invariants that did not hold."""
    samples: list[Sample] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """For the file, the samples thinned out to sixty."""
        step = max(1, len(self.samples) // 60)
        return asdict(self) | {"samples": [asdict(sample) for sample in self.samples[::step]]}


class Soak:
    """One run."""

    def __init__(self, server: Running, seed: int, pace: float, clients: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._killed = Killed()
        self._begin = time.monotonic()
        self._done: Counter[str] = Counter()
        self._samples: list[Sample] = []
        self._clients = [
            Client(server.address, number % 2 == 0, pace, self._killed, self._begin)
            for number in range(clients)
        ]

    def run(self, seconds: float) -> None:
        """The storm, then calm until the server has its workers again."""
        self.before = self._sample()
        for client in self._clients:
            client.start()
        plan = [
            [RELOAD_EVERY, self._reload],
            [KILL_EVERY, self._kill],
            [RESIZE_EVERY, self._resize],
            [MEASURE_EVERY, self._measure],
        ]
        due = [every for every, _ in plan]
        pause = threading.Event()
        while (now := time.monotonic() - self._begin) < seconds and not self._server.ended:
            for number, (every, act) in enumerate(plan):
                if now >= due[number]:
                    act()
                    due[number] += every
            pause.wait(max(0.01, min(due) - (time.monotonic() - self._begin)))
        for client in self._clients:
            client.over.set()
        for client in self._clients:
            client.join(30)

    def _reload(self) -> None:
        self._server.send(signal.SIGHUP)
        self._done["HUP"] += 1

    def _resize(self) -> None:
        more = self._done["TTIN"] == self._done["TTOU"]
        self._server.send(signal.SIGTTIN if more else signal.SIGTTOU)
        self._done["TTIN" if more else "TTOU"] += 1

    def _kill(self) -> None:
        workers = self._server.workers()
        if workers:
            victim = self._chance.choice(workers)
            with self._killed.dying(victim):
                os.kill(victim, signal.SIGKILL)
            self._done["KILL"] += 1

    def _measure(self) -> None:
        self._samples.append(self._sample())

    def _sample(self) -> Sample:
        pids = living(self._server.pid)
        return Sample(
            at=round(time.monotonic() - self._begin, 1),
            processes=len(pids),
            memory=memory(pids),
            master_memory=memory([self._server.pid]),
            descriptors=descriptors(self._server.pid),
            shared_mappings=shared_mappings(self._server.pid),
            zombies=len(zombies(self._server.pid)),
        )

    def result(self, seed: int, seconds: float) -> Result:
        """Figures, and the invariants that they break; stops the server."""
        tallies = [client.tally for client in self._clients]
        latencies = [latency for tally in tallies for latency in tally.latencies]
        excused: Counter[str] = sum((tally.excused for tally in tallies), Counter())
        result = Result(
            seed=seed,
            seconds=seconds,
            requests=sum(tally.answered for tally in tallies),
            excused=dict(excused),
            failed=[what for tally in tallies for what in tally.failed],
            worst_latency=round(max(tally.worst for tally in tallies), 3),
            median_latency=round(percentile(latencies, 0.5), 4),
            p99_latency=round(percentile(latencies, 0.99), 4),
            done=dict(self._done),
            samples=self._samples,
        )
        quarter = max(1, len(self._samples) // 4)
        result.first_quarter = figures(self._samples[:quarter])
        result.last_quarter = figures(self._samples[-quarter:])
        if any(client.is_alive() for client in self._clients):
            result.broken.append("a client hangs")
        self._check_strength(result)
        self._check_growth(result)
        self._check_end(result)
        return result

    def _check_strength(self, result: Result) -> None:
        """All clients are gone: as many workers as at the beginning, and nobody else."""
        if result.failed:
            result.broken.append(f"{len(result.failed)} requests failed that no KILL explains")
        for _ in range(self._done["TTIN"] - self._done["TTOU"]):
            self._server.send(signal.SIGTTOU)
        if time_until(self._is_reloaded, 45) is None:
            result.broken.append("a reload that does not end")
        if time_until(lambda: len(living(self._server.pid)) == WORKERS + 1, 45) is None:
            result.broken.append(f"{len(self._server.workers())} workers, not {WORKERS}")
        if time_until(lambda: not zombies(self._server.pid), 5) is None:
            result.broken.append("zombies")

    def _is_reloaded(self) -> bool:
        """The last reload has come to its end: until then there may be a worker more."""
        told = self._server.log.matching(r"\breloading\b|\breloaded\b|reload failed")
        return not told or not re.search(r"\breloading\b", told[-1])

    def _check_growth(self, result: Result) -> None:
        """What the master holds is what it held at the beginning; the memory of all is flat."""
        before = self.before
        # The master lets go of a worker's after it has reaped it.
        time_until(lambda: descriptors(self._server.pid) <= before.descriptors, 5)
        after = self._sample()
        result.before, result.after = before, after
        for name, room in (("descriptors", 0), ("shared_mappings", 0), ("master_memory", 1 << 20)):
            first, last = getattr(before, name), getattr(after, name)
            if last > first + room:
                result.broken.append(f"{name} of the master grew from {first} to {last}")
        first, last = result.first_quarter["memory_each"], result.last_quarter["memory_each"]
        if last > first * 1.1:
            result.broken.append(f"memory of a process grew from {first:.0f} to {last:.0f}")

    def _check_end(self, result: Result) -> None:
        log = self._server.log
        result.log = {
            word: len(log.matching(pattern))
            for word, pattern in {
                "reloads completed": r"\breloaded\b",
                "reloads failed": "reload failed",
                "workers ready": r"\bready after=",
                "max_requests": "reason=max_requests",
                "SIGKILL": r"reason=\S*\s*SIGKILL",
                "respawns delayed": "respawn delayed",
                "panics": "panicked",
            }.items()
        }
        if result.log["panics"]:
            result.broken.append("a panic")
        self._server.send(signal.SIGTERM)
        time_until(lambda: self._server.ended, 40)
        result.exit_code = self._server.exit_code
        if result.exit_code != 0:
            result.broken.append(f"exit code {result.exit_code}")
        if time_until(lambda: not self._server.members(), 5) is None:
            result.broken.append(f"orphans: {self._server.members()}")


def figures(samples: list[Sample]) -> dict[str, float]:
    """A quarter of the run. What every reload takes for a while is in the highest figures, what is
    never given back in the lowest.
    """
    return {
        "memory_each": statistics.median(sample.memory / sample.processes for sample in samples),
        "memory": statistics.median(sample.memory for sample in samples),
        "master_memory": min(sample.master_memory for sample in samples),
        "descriptors": min(sample.descriptors for sample in samples),
        "descriptors_highest": max(sample.descriptors for sample in samples),
        "shared_mappings": min(sample.shared_mappings for sample in samples),
        "processes": statistics.median(sample.processes for sample in samples),
    }


def soak(
    command_directory: Path,
    directory: Path,
    seconds: float,
    seed: int,
    max_requests: int = 500,
    pace: float = 0.04,
    clients: int = 32,
) -> Result:
    """Starts Ironhorn, and soaks it."""
    wanted = Wanted(workers=WORKERS, max_requests=max_requests or None)
    with Running(Ironhorn(command_directory), directory, wanted) as server:
        run = Soak(server, seed, pace, clients)
        run.run(seconds)
        result = run.result(seed, seconds)
        if result.broken:
            (directory / "log").write_text(server.log.text())
        return result
