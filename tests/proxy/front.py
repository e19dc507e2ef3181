"""The fixture that puts nginx in front of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness import Stage
from proxy.nginx import Nginx


@pytest.fixture
def front(stage: Stage) -> Iterator[Callable[..., Nginx]]:
    """Starts nginx in front of the server at an address; it must have complained of nothing."""
    started: list[Nginx] = []

    def start(*arguments: object, **options: object) -> Nginx:
        started.append(Nginx(stage.directory / f"nginx-{len(started)}", *arguments, **options))
        return started[-1]

    yield start
    for nginx in started:
        nginx.stop()
    complaints = [nginx.errors() for nginx in started if nginx.errors()]
    assert not complaints, "\n".join(complaints)
