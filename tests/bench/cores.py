"""Which cores the server has and which the client, so that neither takes the other's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

AVAILABLE = frozenset(os.sched_getaffinity(0))
"""Before the bench itself keeps to the client's."""


@dataclass(frozen=True)
class Cores:
    """Sets of cores; the same twice where there are too few to part them."""

    server: frozenset[int]
    client: frozenset[int]

    @property
    def parted(self) -> bool:
        """Whether they have nothing in common."""
        return not self.server & self.client

    def told(self) -> str:
        """In words, for the report."""
        if not self.parted:
            return f"server and client on cores {listed(self.server)}"
        return f"server on {listed(self.server)}, client on {listed(self.client)}"


def listed(cores: frozenset[int]) -> str:
    """Numbers with commas."""
    return ", ".join(str(core) for core in sorted(cores))


def share(workers: int, available: frozenset[int] | None = None) -> Cores:
    """A core a worker and the rest for the client; all for both where no half would be left."""
    every = sorted(AVAILABLE if available is None else available)
    if len(every) < 2 or workers > len(every) // 2:
        return Cores(frozenset(every), frozenset(every))
    return Cores(frozenset(every[:workers]), frozenset(every[workers : 2 * workers]))


@contextmanager
def kept_to(cores: frozenset[int]) -> Iterator[None]:
    """This process on these cores alone: it is a client too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
