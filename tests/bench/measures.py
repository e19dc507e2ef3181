"""How each kind of scenario is measured; each takes a trial and gives figures."""

from __future__ import annotations

import itertools
import select
import threading
import time
from contextlib import ExitStack

from harness import BadResponse, Wire
from harness.process import time_until

from . import client, wrk
from .checks import Wrong
from .measuring import cpu_seconds, leaves, process_seconds, pss
from .running import STARTING, Ended, Running
from .scenario import Figures
from .servers import Lacking
from .trial import Trial

MIB = 1 << 20
SOURCES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
"""Where idle connections come from: one address may have too few free ports."""
CONNECTING = 60.0

QUICK_RATE = 500.0
"""Quick requests a second: a quarter of what two workers can do of them, as each takes 1 ms."""
SLOW_PAUSE = 0.1
"""Seconds between the end of a slow request and the next: one is under way nearly always, and
one worker is enough for it.
"""
LONG = 0.020
MIXED_CONNECTIONS = 16
SLOW_CONNECTIONS = 8
"""Kept connections on which the slow requests come in turn: by one alone it would be luck whether
it is where the quick ones are.
"""
MIXED_LEAST = 9.0
"""Seconds: so that each of them has its turn."""

HALF_PAUSE = 10
NOTHING = 0.005
"""The share of the CPU time up to which a process is no worker."""
SPREAD_PAUSE = 100
"""Milliseconds between two requests of a connection: 64 of them ask some 600 times a second."""


def steady(trial: Trial) -> Figures:
    """As much as the server can do."""
    with trial.start() as running:
        trial.check(running)
        trial.warm(running)
        figures = trial.load(running)
        return figures | {"pss": pss(running.pid) / MIB}


def half(trial: Trial) -> Figures:
    """Half of what it can do, by connections that pause between their requests."""
    with trial.start() as running:
        trial.check(running)
        trial.warm(running)
        most = trial.load(running, seconds=1)["rps"]
        connections = max(2, min(1000, round(most / 2 * HALF_PAUSE / 1000)))
        load = wrk.Load(
            running.address,
            trial.scenario.asking,
            connections,
            trial.seconds,
            pause_ms=HALF_PAUSE,
        )
        return trial.loaded(running, load) | {"pss": pss(running.pid) / MIB}


def idle(trial: Trial) -> Figures:
    """Hello beside thousands of kept connections that ask nothing."""
    count = trial.wanted.connections
    with trial.start() as running, ExitStack() as stack:
        trial.check(running)
        trial.warm(running)
        calm = trial.load(running)
        before = pss(running.pid)
        held = hold(trial, running, count, stack)
        grown = pss(running.pid) - before
        crowded = trial.load(running)
        lost = sum(is_closed(wire) for wire in held)
        if lost:
            raise Wrong(f"{lost} of {count} idle connections were closed")
    return crowded | {
        "kept": crowded["rps"] / calm["rps"] * 100,
        "kib": grown / count / 1024,
        "pss": (before + grown) / MIB,
    }


def hold(trial: Trial, running: Running, count: int, stack: ExitStack) -> list[Wire]:
    """So many connections, each of which has been answered once; they end with the stack."""
    held = []
    end = time.monotonic() + CONNECTING
    for number in range(count):
        try:
            wire = Wire(running.address, 10, source=SOURCES[number % len(SOURCES)])
            held.append(stack.enter_context(wire))
            wire.send(trial.scenario.asking.raw()).read_response()
        except (OSError, BadResponse):
            raise Wrong(f"holds {number} connections of {count}") from None
        if time.monotonic() > end:
            raise Wrong(f"took {number} connections of {count} in {CONNECTING:.0f} s")
    return held


def is_closed(wire: Wire) -> bool:
    """Whether an idle connection has ended."""
    poller = select.poll()
    poller.register(wire.socket, select.POLLIN)
    return bool(poller.poll(0))


def mixed(trial: Trial) -> Figures:
    """Quick requests at a rate, while one slow request after another is under way."""
    with trial.start() as running:
        trial.check(running)
        over = threading.Event()
        crowd = slow_clients(trial, running)
        slow = threading.Thread(target=ask_slowly, args=(crowd, over), daemon=True)
        slow.start()
        before = cpu_seconds(running.pid)
        measured = client.drive(
            running.address,
            trial.scenario.asking.raw(),
            MIXED_CONNECTIONS,
            max(MIXED_LEAST, trial.seconds),
            QUICK_RATE,
        )
        spent = cpu_seconds(running.pid) - before
        over.set()
        slow.join(5)
        if not measured.requests:
            raise Wrong("no quick request was answered")
        late = sum(latency > LONG for latency in measured.latencies) + measured.errors
        if measured.errors:
            trial.notes.append("some quick requests failed")
        return measured.figures() | {
            "waited": late / (measured.requests + measured.errors) * 100,
            "cpu": spent / measured.requests * 1e6,
            "pss": pss(running.pid) / MIB,
        }


def slow_clients(trial: Trial, running: Running) -> list[client.Connection]:
    """Connected, and each answered once."""
    slow = b"GET /slow HTTP/1.1\r\nHost: test.example\r\n\r\n"
    crowd = [client.Connection(running.address, slow) for _ in range(SLOW_CONNECTIONS)]
    for connection in crowd:
        answer(connection, trial.scenario.asking.raw())
    return crowd


def answer(connection: client.Connection, request: bytes | None = None) -> None:
    """Asks and waits; a failure is not what is measured here."""
    try:
        connection.ask(time.monotonic(), request)
        while not connection.idle:
            connection.receive()
    except OSError:
        connection.close()


def ask_slowly(crowd: list[client.Connection], over: threading.Event) -> None:
    """One slow request after the other, on the next connection each time."""
    for connection in itertools.cycle(crowd):
        if over.wait(SLOW_PAUSE):
            break
        answer(connection)
    for connection in crowd:
        connection.close()


def spread(trial: Trial) -> Figures:
    """What the busiest worker does of a full load and of a low one."""
    with trial.start() as running:
        trial.check(running)
        trial.warm(running)
        full, figures = busiest(trial, running, 0)
        low, _ = busiest(trial, running, SPREAD_PAUSE)
        told = {"busiest": full, "busiest_low": low, "pss": pss(running.pid) / MIB}
        return figures | told


def busiest(trial: Trial, running: Running, pause_ms: int) -> tuple[float, Figures]:
    """The CPU time of the busiest worker under a load, where 1 is an even share of all."""
    workers = leaves(running.pid)
    before = [process_seconds(pid) for pid in workers]
    asking, connections = trial.scenario.asking, trial.scenario.connections
    load = wrk.Load(running.address, asking, connections, trial.seconds, pause_ms=pause_ms)
    figures = trial.loaded(running, load)
    spent = [process_seconds(pid) - was for pid, was in zip(workers, before, strict=True)]
    if min(spent) < 0:
        raise Wrong("a worker has ended")
    if sum(each > sum(spent) * NOTHING for each in spent) > trial.wanted.workers:
        raise Lacking("others work beside its workers")
    return max(spent) / sum(spent) * trial.wanted.workers, figures


def startup(trial: Trial) -> Figures:
    """From the exec to the first right answer, asked every half millisecond."""
    trial.adapter.check(trial.wanted)
    begun = time.monotonic()
    with Running(trial.adapter, trial.wanted, trial.directory, trial.cores) as running:
        asked = trial.asked(running)
        while not (listens(running) and asked.is_right()):
            if running.process.poll() is not None or time.monotonic() > begun + STARTING:
                raise Ended(running.said())
            select.select([], [], [], 0.0005)
        took = time.monotonic() - begun
        spent = cpu_seconds(running.pid)
        trial.check(running)
        return {"start": took * 1000, "start_cpu": spent * 1000}


def listens(running: Running) -> bool:
    """Whether somebody takes connections; a refusal costs less than a whole client."""
    try:
        Wire(running.address, 5).close()
    except OSError:
        return False
    return True


def memory(trial: Trial) -> Figures:
    """Of the tree, before anybody asked anything but whether it is there, and after load."""
    with trial.start() as running:
        settled = settle(running)
        trial.check(running)
        trial.load(running)
        return {"idle": settled / MIB, "loaded": settle(running) / MIB}


def settle(running: Running) -> int:
    """Memory when it grows no more, or after five seconds."""
    seen = [0]

    def stands() -> bool:
        time_until(lambda: False, 0.2)
        seen.append(pss(running.pid))
        return abs(seen[-1] - seen[-2]) < seen[-1] / 200

    time_until(stands, 5)
    return seen[-1]
