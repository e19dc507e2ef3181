"""Fixtures: nginx in front of a server, both speaking uwsgi."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from frameworks.example import Example
from harness import Server, Stage
from proxy.conftest import front as front
from proxy.conftest import site as site
from proxy.nginx import Nginx


@dataclass(frozen=True)
class Passing:
    """Starts a server and nginx in front, for one kind of socket."""

    stage: Stage
    front: Callable[..., Nginx]
    bind: str

    def before(self, server: Server, *lines: str, **options: object) -> Nginx:
        """nginx with these lines in its location."""
        return self.front(server.address, uwsgi=lines, **options)

    def serve(self, app: str = "toolbox:app", *lines: str, **settings: object) -> Nginx:
        """nginx in front of an app."""
        return self.before(
            self.stage.serve(app, bind=self.bind, protocol="uwsgi", **settings), *lines
        )

    def example(self, name: str, env: dict[str, str] | None = None, **settings: object) -> Nginx:
        """nginx in front of an example, with wsgiref.validate around its app."""
        example = Example(self.stage, validated=True)
        return self.before(
            example.serve(name, env, bind=self.bind, protocol="uwsgi", **settings),
            "uwsgi_buffering off;",
        )


@pytest.fixture(params=["tcp", "unix"])
def passing(request: pytest.FixtureRequest, stage: Stage, front: Callable[..., Nginx]) -> Passing:
    """Over TCP, and over a unix socket."""
    return Passing(stage, front, request.param)
