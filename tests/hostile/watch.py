"""Watches a server under a flood: the worker's memory, and one client who wants nothing unusual."""

from __future__ import annotations

import select
import threading
import time

from harness import BadResponse, Server, Wire
from harness.measure import memory
from harness.process import scaled

MEBI = 1 << 20
PAUSE = 0.02


class Watch:
    """From entering the context to leaving it: samples of the worker's memory (proportional set
    size), and GETs of `/hello` one after another, each on a new connection.

    `served` are how long these took; `failed` says what went wrong with others.
    """

    def __init__(self, server: Server, what: str, patience: float = 10.0) -> None:
        self._server, self._what, self._patience = server, what, patience
        self._worker = server.worker()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=watch, daemon=True) for watch in (self._weigh, self._ask)
        ]
        self.before = self.peak = memory([self._worker])
        self.served: list[float] = []
        self.failed: list[str] = []

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(scaled(self._patience) + 5)
        if kind is None:
            print(self)

    def __str__(self) -> str:
        figures = [self.before, self.peak, self.now()]
        weights = " | ".join(f"{figure / MEBI:.1f}" for figure in figures)
        return f"| {self._what} | {weights} | {self.slowest() * 1000:.1f} |"

    def now(self) -> int:
        """The worker's memory at present."""
        return memory([self._worker])

    def grown(self) -> int:
        """How much more the worker had at its most than before."""
        return self.peak - self.before

    def slowest(self) -> float:
        """The longest that the client waited."""
        return max(self.served, default=0.0)

    def assert_served(self, within: float, at_least: int = 3) -> None:
        """The client has had all its answers, in time, from the worker that was there before."""
        assert not self.failed
        assert len(self.served) >= at_least
        assert self.slowest() < scaled(within)
        assert self._server.worker() == self._worker

    def wait_served(self, count: int) -> None:
        """Waits until the client has had so many answers more."""
        goal = len(self.served) + count
        end = time.monotonic() + scaled(self._patience)
        while len(self.served) < goal and not self.failed and time.monotonic() < end:
            self._over.wait(PAUSE)
        assert len(self.served) >= goal, f"not served any more; {self.failed}"

    def _weigh(self) -> None:
        while not self._over.wait(PAUSE):
            self.peak = max(self.peak, self.now())

    def _ask(self) -> None:
        while not self._over.wait(PAUSE):
            started = time.monotonic()
            try:
                status = self._server.get("/hello", deadline=self._patience).status
            except (OSError, BadResponse) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                continue
            if status == 200:
                self.served.append(time.monotonic() - started)
            else:
                self.failed.append(str(status))


def wait_reset(wire: Wire, deadline: float = 15.0) -> None:
    """Waits until the server has given a client up, without reading what was sent to it."""
    poll = select.poll()
    poll.register(wire.socket, 0)
    assert poll.poll(scaled(deadline) * 1000), "the client is still waited for"
