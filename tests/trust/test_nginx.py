"""Behind a real nginx: what it says is believed, and what its clients say isn't."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from harness import Stage, Wire, request, wait_until
from proxy.nginx import Nginx

pytestmark = pytest.mark.proxy

CLIENT = "127.0.0.9"


def ask(nginx: Nginx, *fields: str) -> dict[str, object]:
    """One request of a client that isn't listed."""
    with Wire(nginx.address, source=CLIENT) as wire:
        wire.send(request("GET", "/environ", "Connection: close", *fields))
        response = wire.read_response()
    assert response.status == 200, response.body
    return json.loads(response.body)


@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_the_client_behind_nginx(stage: Stage, front: Callable[..., Nginx], bind: str) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(
        bind=bind, forwarded_for="on", access_logfile=log, access_logformat="%(h)s"
    )
    nginx = front(server.address, keep_alive=True)
    # What the client claims stands left of what nginx adds.
    spoofed = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "Forwarded: for=1.2.3.4")
    for fields in ((), spoofed):
        seen = ask(nginx, *fields)
        assert seen["REMOTE_ADDR"] == CLIENT
        assert "REMOTE_PORT" not in seen
        assert seen["wsgi.url_scheme"] == "http"
        assert seen["ironhorn.peer_addr"] == ("127.0.0.1" if bind == "tcp" else "")
        assert "HTTP_FORWARDED" not in seen
    wait_until(lambda: log.read_text() == f"{CLIENT}\n" * 2, what="the access lines")


def test_a_field_that_nginx_passes_on_contradicts_it(
    stage: Stage, front: Callable[..., Nginx]
) -> None:
    nginx = front(stage.serve().address)
    with Wire(nginx.address) as wire:
        wire.send(request("GET", "/environ", "X-Forwarded-Ssl: on"))
        assert wire.read_response().status == 400


@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_nginx_that_passes_on_bytes(stage: Stage, front: Callable[..., Nginx], bind: str) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(
        bind=bind, proxy_protocol="v1", access_logfile=log, access_logformat="%(h)s"
    )
    nginx = front(server.address, stream=True)
    with Wire(nginx.address, source=CLIENT) as wire:
        port = wire.socket.getsockname()[1]
        for _ in range(3):
            wire.send(request("GET", "/environ", "X-Forwarded-Proto: https"))
            seen = json.loads(wire.read_response().body)
            assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (CLIENT, str(port))
            assert (seen["PROXY_ADDR"], seen["PROXY_PORT"]) == (
                nginx.address[0],
                str(nginx.address[1]),
            )
            # It is the client's own word.
            assert seen["wsgi.url_scheme"] == "http"
    wait_until(lambda: log.read_text() == f"{CLIENT}\n" * 3, what="the access lines")
