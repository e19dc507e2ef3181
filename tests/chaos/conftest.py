"""The vital signs of a server: what must be as before once a fault is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from harness import Server, wait_until
from harness.measure import (
    descriptors,
    kinds_of_descriptors,
    living,
    memory,
    shared_mappings,
    zombies,
)


@dataclass
class Vitals:
    """Taken when the server is well, compared after faults."""

    server: Server
    workers: int
    zygotes: int = field(init=False)
    descriptors: int = field(init=False)
    mappings: int = field(init=False)
    memory: int = field(init=False)

    def __post_init__(self) -> None:
        self.zygotes = len(self.server.zygotes())
        self.descriptors = descriptors(self.server.pid)
        self.mappings = shared_mappings(self.server.pid)
        self.memory = memory([self.server.pid])

    def wait_recovered(self, deadline: float = 40) -> None:
        """All workers are back, no other process of its session is left, no zombie, no descriptor
        and no shared page of the master more than before, and its memory is flat.
        """
        server = self.server
        wait_until(
            lambda: len(server.workers()) == self.workers, deadline, f"{self.workers} workers"
        )
        wait_until(lambda: len(server.zygotes()) == self.zygotes, deadline, "the zygote")
        wait_until(
            lambda: len(living(server.pid)) == 1 + self.zygotes + self.workers,
            deadline,
            f"no process too many: {living(server.pid)}",
        )
        wait_until(lambda: not zombies(server.pid), what="no zombie")
        wait_until(
            lambda: descriptors(server.pid) <= self.descriptors,
            what=f"{self.descriptors} descriptors, not {kinds_of_descriptors(server.pid)}",
        )
        wait_until(lambda: shared_mappings(server.pid) <= self.mappings, what="no shared page more")
        assert memory([server.pid]) <= self.memory + (2 << 20)


@pytest.fixture
def vitals() -> Callable[[Server, int], Vitals]:
    """Takes the vital signs of a server that has so many workers."""
    return Vitals
