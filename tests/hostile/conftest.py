"""Fixtures: as many descriptors as the machine allows, for floods of connections."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest
from harness import Server, Wire


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """The soft limit is the hard one."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def crowd() -> Iterator[Callable[..., list[Wire]]]:
    """Opens so many connections; they are closed at the end."""
    opened: list[Wire] = []

    def connect(server: Server, count: int, **options: object) -> list[Wire]:
        new = [server.connect(**options) for _ in range(count)]
        opened.extend(new)
        return new

    yield connect
    for wire in opened:
        wire.close()
