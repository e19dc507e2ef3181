"""A bounded load generator: every error is counted, nothing is retried, every answer is kept with
its times.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .process import DEADLINE, scaled, wait_until
from .wire import Address, BadResponse, Wire, request


@dataclass(frozen=True)
class Sample:
    """One answered request; times are monotonic seconds."""

    started: float
    ended: float
    status: int
    body: bytes
    keep_alive: bool

    @property
    def latency(self) -> float:
        """Seconds from before the connection or the send until the last byte."""
        return self.ended - self.started


@dataclass(frozen=True)
class Failure:
    """One request that was not answered, or not well."""

    at: float
    what: str
    keep_alive: bool


@dataclass
class Report:
    """What the clients saw."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def bodies(self, after: float = 0.0) -> Counter[bytes]:
        """How often each body was the answer to a request that started after the given moment."""
        return Counter(sample.body for sample in self.samples if sample.started >= after)

    def worst(self, start: float = 0.0, end: float = float("inf")) -> float:
        """The longest wait of the requests in flight at any moment of the interval."""
        waits = (s.latency for s in self.samples if s.ended >= start and s.started <= end)
        return max(waits, default=0.0)

    def assert_none_failed(self) -> None:
        """Every request was answered with 200."""
        bad = [f"{s.status} {s.body[:80]!r}" for s in self.samples if s.status != 200]
        bad += [f"{failure.what} (keep-alive: {failure.keep_alive})" for failure in self.failures]
        total = len(self.samples) + len(self.failures)
        assert not bad, f"{len(bad)} of {total} requests failed: {Counter(bad)}"


class Load:
    """Clients in threads, from entering the context to leaving it.

    Some keep their connection, some take a new one for each request.

    `connect` makes their connections, where they aren't plain ones.

    `pace` is each client's pause between two requests, so that the clients leave the machine to the
    server.
    """

    def __init__(
        self,
        address: Address,
        keep_alive: int = 16,
        one_request: int = 16,
        target: str = "/",
        pace: float = 0.02,
        connect: Callable[[], Wire] | None = None,
    ) -> None:
        self._connect = connect or (lambda: Wire(address))
        self._request = {
            True: request("GET", target),
            False: request("GET", target, "Connection: close"),
        }
        self._pace = pace
        self._over = threading.Event()
        self._report = Report()
        self._lock = threading.Lock()
        kinds = [True] * keep_alive + [False] * one_request
        self._threads = [
            threading.Thread(target=self._client, args=(kind,), daemon=True) for kind in kinds
        ]
        self.started_at = 0.0

    def __enter__(self) -> Load:
        self.started_at = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Report:
        """Ends the clients after their current request and gives the report."""
        self._over.set()
        for thread in self._threads:
            thread.join(scaled(DEADLINE) * 2)
            assert not thread.is_alive(), "a client hangs"
        return self._report

    @property
    def report(self) -> Report:
        """A copy of what was seen so far."""
        with self._lock:
            return Report(list(self._report.samples), list(self._report.failures))

    def answered(self) -> int:
        """How many requests were answered so far."""
        with self._lock:
            return len(self._report.samples)

    def wait_more(self, count: int, deadline: float = DEADLINE) -> None:
        """Waits until so many requests more have been answered."""
        goal = self.answered() + count
        wait_until(lambda: self.answered() >= goal, deadline, f"{count} more answers")

    def _client(self, keep_alive: bool) -> None:
        wire: Wire | None = None
        while not self._over.is_set():
            started = time.monotonic()
            try:
                if wire is None:
                    wire = self._connect()
                response = wire.send(self._request[keep_alive]).read_response()
                if not keep_alive:
                    wire.wait_closed()
            except (OSError, BadResponse) as error:
                self._note(
                    Failure(time.monotonic(), f"{type(error).__name__}: {error}", keep_alive)
                )
                wire = self._drop(wire)
            else:
                self._note(
                    Sample(started, time.monotonic(), response.status, response.body, keep_alive)
                )
                if response.closes or not keep_alive:
                    wire = self._drop(wire)
            self._over.wait(self._pace)
        self._drop(wire)

    def _note(self, outcome: Sample | Failure) -> None:
        with self._lock:
            if isinstance(outcome, Sample):
                self._report.samples.append(outcome)
            else:
                self._report.failures.append(outcome)

    @staticmethod
    def _drop(wire: Wire | None) -> None:
        if wire is not None:
            wire.close()
