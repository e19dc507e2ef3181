"""Kept connections are spread evenly over the workers."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest
from harness import Stage

pytestmark = pytest.mark.ironhorn("its workers leave connections to those that have fewer")

PATIENCE = 30
WORKERS = 4
CONNECTIONS = 32
SLACK = 3
"""One over an even share is right; the others are what a worker doesn't know yet of the others."""


@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_who_has_more_than_others_leaves_them_the_next(stage: Stage, bind: str) -> None:
    """They come one by one, while all workers wait for one."""
    server = stage.serve(workers=WORKERS, bind=bind, keepalive=PATIENCE)
    held: Counter[int] = Counter()
    with ExitStack() as wires:
        for _ in range(CONNECTIONS):
            wire = wires.enter_context(server.connect(PATIENCE))
            held[int(wire.get("/pid").read_response().body)] += 1
        assert len(held) == WORKERS, held
        assert max(held.values()) <= CONNECTIONS // WORKERS + SLACK, held
