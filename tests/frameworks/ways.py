"""The ways on which a request comes to an example: direct, in threads, over TLS, behind nginx."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from frameworks.browser import Browser, connect
from frameworks.example import Example
from harness import Server, Wire
from harness.wire import Address
from proxy.nginx import Nginx
from tls.certificates import Authority, TlsWire

DIRECT = ("direct", "validated", "threads")
"""Every test is run on these ways. All but the first put wsgiref.validate around the app."""

OTHERS = (
    "tls",
    "tls-threads",
    "nginx",
    pytest.param(
        "uwsgi",
        marks=pytest.mark.ironhorn("Gunicorn decodes PATH_INFO twice and ignores what nginx says"),
    ),
)

every_way = pytest.mark.parametrize("example", [*DIRECT, *OTHERS], indirect=True)
"""For the tests that show the whole of an example: what goes in, and what comes out."""

UNBUFFERED = {
    "nginx": {"# proxy_buffering off;$": "proxy_buffering off;"},
    "uwsgi": {"# uwsgi_buffering off;$": "uwsgi_buffering off;"},
}


@dataclass(frozen=True)
class Entrance:
    """Where clients get to an example: the server's own address, or that of the nginx in front."""

    server: Server
    address: Address
    context: ssl.SSLContext | None = None

    @property
    def directory(self) -> Path:
        """That of the test."""
        return self.server.directory

    def browser(self, **headers: str) -> Browser:
        """Somebody who has not been here yet."""
        return Browser(self.address, self.context, **headers)

    def http(self) -> http.client.HTTPConnection:
        """A connection of http.client's."""
        return connect(self.address, self.context)

    def connect(self) -> Wire:
        """A connection for bytes as they are."""
        if self.context is not None:
            return TlsWire(self.server, self.context)
        return Wire(self.address)


@dataclass(frozen=True)
class Way:
    """Serves examples, each on the same way."""

    name: str
    example: Example
    authority: Authority
    front: Callable[..., Nginx]

    def serve(
        self,
        name: str,
        env: dict[str, str] | None = None,
        static: Path | None = None,
        **settings: object,
    ) -> Entrance:
        """Starts the real command on an example, and nginx if it is on the way.

        The files in `static` are nginx's to serve.
        """
        if self.name == "uwsgi":
            settings["protocol"] = "uwsgi"
        if not self.is_encrypted:
            server = self.example.serve(name, env, **settings)
            return Entrance(server, self._address_before(server, static))
        certfile = self.authority.issue("server", "localhost", "127.0.0.1")
        server = self.example.serve(name, env, certfile=certfile, **settings)
        assert server.address is not None
        return Entrance(server, server.address, self.authority.context())

    @property
    def is_encrypted(self) -> bool:
        """Whether clients speak TLS."""
        return self.name.startswith("tls")

    def _address_before(self, server: Server, static: Path | None) -> Address:
        assert server.address is not None
        if self.name not in UNBUFFERED:
            return server.address
        uwsgi = () if self.name == "uwsgi" else None
        return self.front(
            server.address,
            keep_alive=uwsgi is None,
            static=static,
            uwsgi=uwsgi,
            changes=UNBUFFERED[self.name],
        ).address
