"""No request fails behind nginx while the server is reloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Load, Server, Stage, wait_until
from proxy.nginx import Nginx

pytestmark = pytest.mark.proxy

RELOADS = 5


def write_version(directory: Path, version: int) -> None:
    """Replaces the app in one step, so that no worker imports half of it."""
    text = f"""
def app(environ, start_response):
    body = b"version {version}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
    (directory / "new.py").write_text(text)
    os.replace(directory / "new.py", directory / "versioned.py")


def reload_to(server: Server, directory: Path, version: int) -> None:
    """Deploys a version: new code, HUP, and waits until every worker has it."""
    write_version(directory, version)
    server.reload()


@pytest.mark.parametrize("keep_alive", [False, True], ids=["close", "keep-alive"])
@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_no_request_fails(
    stage: Stage, front: Callable[..., Nginx], bind: str, keep_alive: bool
) -> None:
    write_version(stage.directory, 0)
    server = stage.serve("versioned:app", bind=bind, workers=2)
    nginx = front(server.address, keep_alive=keep_alive)
    with Load(nginx.address, keep_alive=8, one_request=8) as load:
        for version in range(1, RELOADS + 1):
            reload_to(server, stage.directory, version)
            answered = load.answered()
            wait_until(lambda enough=answered + 50: load.answered() >= enough, what="more answers")
    load.report.assert_none_failed()
    seen = set(load.report.bodies())
    assert seen == {b"version %d" % version for version in range(RELOADS + 1)}
