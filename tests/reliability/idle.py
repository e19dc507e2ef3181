"""Thousands of connections that are kept and idle: what each costs its worker, and whether the
others are served as fast as without them.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import Wire, request
from harness.measure import memory
from harness.process import cpu_seconds, time_until

from .fault import Facts, Fault
from .running import Running
from .servers import Adapter, Ironhorn, Lacking, Wanted
from .slow import THREADS, is_gone

CONNECTIONS = 10_000
SOURCES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
"""Where the idle ones come from: one address may have too few free ports."""
CLIENTS = 8
ROUNDS = 5


@dataclass(frozen=True)
class Idle(Fault):
    """A fault whose facts are memory and throughput."""

    def tell(self, facts: Facts) -> str:
        if "connections" not in facts:
            return super().tell(facts)
        return (
            f"{facts['kib_each']} KiB each; {facts['without']} requests a second without them, "
            f"{facts['with']} with them ({facts['ratio']} of it); CPU time of a request "
            f"{facts['cpu_without']} µs, {facts['cpu_with']} µs"
        )


def measured(
    adapter: Adapter, directory: Path, connections: int, seconds: float
) -> dict[str, object]:
    """Rounds before they come, while they are there, and after they left."""
    if not isinstance(adapter, Ironhorn):
        raise Lacking("Ironhorn only")
    wanted = Wanted(workers=1, threads=THREADS[type(adapter)], idle=connections)
    with Running(adapter, directory, wanted) as running:
        (worker,) = running.workers()
        calm = rounds(running, worker, seconds)
        before = memory([worker])
        with ExitStack() as stack:
            wires = []
            for number in range(connections):
                source = SOURCES[number % len(SOURCES)]
                wire = stack.enter_context(Wire(running.address, source=source))
                wires.append(wire)
                assert wire.get().read_response().status == 200
            grown = memory([worker]) - before
            crowded = rounds(running, worker, seconds)
            assert not any(is_gone(wire) for wire in wires), "idle connections were closed"
        time_until(lambda: memory([worker]) < before + grown / 2, 1)
        calm += rounds(running, worker, seconds)
    speeds = [statistics.median(each[0] for each in some) for some in (calm, crowded)]
    costs = [statistics.median(each[1] for each in some) for some in (calm, crowded)]
    return {
        "connections": connections,
        "kib_each": round(grown / connections / 1024, 2),
        "without": round(speeds[0]),
        "with": round(speeds[1]),
        "ratio": round(speeds[1] / speeds[0], 2),
        "cpu_without": round(costs[0] * 1e6, 1),
        "cpu_with": round(costs[1] * 1e6, 1),
    }


def rounds(running: Running, worker: int, seconds: float) -> list[tuple[float, float]]:
    """Requests a second, and the worker's CPU seconds for each, in each round."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.address)) for _ in range(CLIENTS)]
        return [one_round([wire.socket for wire in wires], worker, seconds) for _ in range(ROUNDS)]


def one_round(clients: list[socket.socket], worker: int, seconds: float) -> tuple[float, float]:
    """Each client has one request under way, all the time."""
    asking = request("GET", "/")
    count, spent, started = 0, cpu_seconds(worker), time.monotonic()
    while time.monotonic() < started + seconds:
        for client in clients:
            client.sendall(asking)
        for client in clients:
            answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        count += len(clients)
    took = time.monotonic() - started
    return count / took, (cpu_seconds(worker) - spent) / count


def make(adapter: Adapter, directory: Path) -> Facts:
    """See measured."""
    return measured(adapter, directory, CONNECTIONS, 1.0)


IDLE = Idle("idle_10000", "10,000 idle connections", "", 150, make)
