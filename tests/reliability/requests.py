"""Requests that never end, or that wait while the server stops."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from harness import BadResponse, Wire
from harness.process import time_until

from .fault import Facts, fault, told
from .running import Running, elapsed
from .servers import Adapter, Wanted

WATCHED = 20.0


STUCK = (
    "its client got: {outcome}, after {noticed} s; log: {logged}, stack of the app {stack}; "
    "others answered meanwhile: {others}"
)


def stuck_request(adapter: Adapter, directory: Path, wanted: Wanted, trouble: str = "") -> Facts:
    """One request waits for ever in a lock; others could be served."""
    with Running(adapter, directory, wanted, trouble) as running:
        mark, started = running.log.mark(), time.monotonic()
        wire = running.begin("/stuck")
        others = running.answers()
        outcome = outcome_of(wire, WATCHED)
        noticed = None if outcome == "nothing" else elapsed(started)
        return {
            "outcome": outcome,
            "noticed": noticed,
            "others": others,
            **traces(running, mark),
        }


@fault("A request that never ends, timeout 3 s, 4 threads", STUCK)
def stuck_request_threads(adapter: Adapter, directory: Path) -> Facts:
    """See stuck_request."""
    return stuck_request(adapter, directory, Wanted(workers=1, threads=4, timeout=3))


@fault("The same, 2 workers of 1 thread, the app has a thread of its own", STUCK)
def stuck_request_own_thread(adapter: Adapter, directory: Path) -> Facts:
    """See stuck_request; a thread that is no daemon runs in each worker."""
    return stuck_request(adapter, directory, Wanted(workers=2, timeout=3), "has a thread")


@fault(
    "As many such requests as there are threads",
    "another client was answered after {answered} s (watched for {watched} s)",
)
def all_threads_stuck(adapter: Adapter, directory: Path) -> Facts:
    """Four of four threads wait for ever in a lock: until when is nobody served?"""
    with Running(adapter, directory, Wanted(workers=1, threads=4, timeout=3)) as running:
        for _ in range(4):
            running.begin("/stuck")
        running.ask(deadline=0.3)
        answered = time_until(lambda: running.answers(deadline=1), WATCHED)
        return {"answered": answered, "watched": WATCHED}


def outcome_of(wire: Wire, deadline: float) -> str:
    """What a client gets within the time; then it leaves."""
    with wire:
        return received(wire, deadline)


def received(wire: Wire, deadline: float) -> str:
    try:
        return str(wire.read_response(deadline=deadline).status)
    except BadResponse as error:
        return "nothing" if "deadline" in str(error) else "end of the connection"
    except TimeoutError:
        return "nothing"
    except OSError:
        return "a reset"


def traces(running: Running, mark: int) -> dict[str, object]:
    """What the log tells about a stuck request."""
    time_until(lambda: running.log.matching("/stuck", mark), 2)
    lines = running.log.lines(mark)
    return {
        "logged": "names the request"
        if any("/stuck" in line for line in lines)
        else f"{len(lines)} lines, none names the request",
        "stack": "shown" if any("plain.py" in line for line in lines) else "not shown",
    }


ROUNDS = 3
STOPPED = (
    "of {threads} that ran {busy} answered, of 20 that waited {waiting} (three rounds); "
    "exit code {exit_code} after {took} s"
)


def stop_with_a_queue(adapter: Adapter, directory: Path, threads: int) -> Facts:
    """Three times, since with some servers it is a matter of luck."""
    rounds = [stop_once(adapter, directory, threads) for _ in range(ROUNDS)]
    return {"threads": threads} | {
        name: ", ".join(told(each[name]) for each in rounds) for name in rounds[0]
    }


def stop_once(adapter: Adapter, directory: Path, threads: int) -> Facts:
    """Every thread has a request of 2 s, twenty more requests wait behind; then TERM."""
    with Running(adapter, directory, Wanted(workers=1, threads=threads)) as running:
        running.ask()
        busy = [running.begin("/wait?2") for _ in range(threads)]
        running.ask(deadline=0.3)
        waiting = [running.begin("/") for _ in range(20)]
        started = time.monotonic()
        running.send(signal.SIGTERM)
        answers = [outcome_of(wire, 15) for wire in [*busy, *waiting]]
        took = time_until(lambda: running.ended, 20)
        return {
            "busy": answers[:threads].count("200"),
            "waiting": answers[threads:].count("200"),
            "exit_code": running.exit_code,
            "took": elapsed(started) if took is not None else None,
        }


@fault("TERM with 20 requests waiting, 1 thread", STOPPED)
def stop_with_a_queue_1(adapter: Adapter, directory: Path) -> Facts:
    """See stop_with_a_queue."""
    return stop_with_a_queue(adapter, directory, 1)


@fault("TERM with 20 requests waiting, 4 threads", STOPPED)
def stop_with_a_queue_4(adapter: Adapter, directory: Path) -> Facts:
    """See stop_with_a_queue."""
    return stop_with_a_queue(adapter, directory, 4)


def half_sent(adapter: Adapter, directory: Path, wanted: Wanted) -> Facts:
    """Two clients send half a request head and wait; how long until a third one is answered?"""
    with Running(adapter, directory, wanted) as running:
        for _ in range(2):
            running.begin_with(b"GET / HTTP/1.1\r\nHost: a")
        answered = time_until(lambda: running.answers(deadline=WATCHED), WATCHED)
        return {"answered": answered, "watched": WATCHED}


HALF_SENT = "a third client was answered after {answered} s (watched for {watched} s)"


@fault("Two half-sent requests, 2 workers of 1 thread", HALF_SENT)
def half_sent_workers(adapter: Adapter, directory: Path) -> Facts:
    """See half_sent."""
    return half_sent(adapter, directory, Wanted(workers=2, threads=1))


@fault("Two half-sent requests, 1 worker of 2 threads", HALF_SENT)
def half_sent_threads(adapter: Adapter, directory: Path) -> Facts:
    """See half_sent."""
    return half_sent(adapter, directory, Wanted(workers=1, threads=2))
