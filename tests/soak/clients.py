"""Clients that know which worker has served them, so that the failures on connections of a killed
worker are told from all others.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from harness import BadResponse, Wire, is_alive, request
from harness.process import time_until
from harness.wire import Address


@dataclass
class Killed:
    """The workers that died on purpose, with the moments between which each did."""

    began: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    @contextmanager
    def dying(self, worker: int) -> Iterator[None]:
        """Said before it happens; what kills the worker is in the block."""
        self.began[worker] = time.monotonic()
        try:
            with suppress(ProcessLookupError):
                yield
            time_until(lambda: not is_alive(worker), 5)
        finally:
            self.ended[worker] = time.monotonic()

    def owned(self, worker: int | None, begun: float, failed: float) -> str:
        """Why a request may have failed: its connection was a killed worker's, or it was under way
        at a KILL before any answer could tell whose it was. Empty: no KILL explains it.
        """
        if worker is not None:
            return "connection of a killed worker" if worker in self.began else ""
        under_way = any(
            began <= failed and begun <= self.ended.get(pid, failed)
            for pid, began in self.began.copy().items()
        )
        return "first request of a connection, under way at a KILL" if under_way else ""


@dataclass
class Tally:
    """What one client saw."""

    answered: int = 0
    worst: float = 0.0
    latencies: list[float] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """One client: request after request, with a pause between two."""

    def __init__(
        self, address: Address, keep_alive: bool, pace: float, killed: Killed, begin: float
    ) -> None:
        super().__init__(daemon=True)
        self.tally = Tally()
        self.over = threading.Event()
        self._address, self._keep_alive, self._pace = address, keep_alive, pace
        self._killed, self._begin = killed, begin
        fields = [] if keep_alive else ["Connection: close"]
        self._request = request("GET", "/", *fields)
        self._wire: Wire | None = None
        self._worker: int | None = None

    def run(self) -> None:
        """Until `over` is set."""
        while not self.over.is_set():
            self._once()
            self.over.wait(self._pace)
        self._drop()

    def _once(self) -> None:
        begun = time.monotonic()
        try:
            if self._wire is None:
                self._wire, self._worker = Wire(self._address), None
            response = self._wire.send(self._request).read_response()
            if response.status != 200:
                raise BadResponse(f"status {response.status}")
            self._worker = int(response.body.split()[1])
            if not self._keep_alive:
                self._wire.wait_closed()
        except (OSError, BadResponse) as error:
            self._note_failure(begun, f"{type(error).__name__}: {error}")
            self._drop()
        else:
            self._note_answer(time.monotonic() - begun)
            if response.closes or not self._keep_alive:
                self._drop()

    def _note_answer(self, latency: float) -> None:
        self.tally.answered += 1
        self.tally.worst = max(self.tally.worst, latency)
        if self.tally.answered % 10 == 0:
            self.tally.latencies.append(latency)

    def _note_failure(self, begun: float, what: str) -> None:
        now = time.monotonic()
        kind = "kept" if self._keep_alive else "new"
        if excuse := self._killed.owned(self._worker, begun, now):
            self.tally.excused[excuse] += 1
        else:
            self.tally.failed.append(
                f"at {now - self._begin:.2f} s, {kind} connection of {self._worker}: {what}"
            )

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
