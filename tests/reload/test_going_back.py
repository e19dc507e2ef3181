"""A reload that fails, or that is taken back, leaves nothing of itself behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Gate, Server, Stage, Wire, wait_until

pytestmark = pytest.mark.ironhorn("is configured by Python")


def config(*binds: str, **more: object) -> str:
    """The text of ironhorn.yaml (JSON is YAML)."""
    return json.dumps({"workers": 1, **({"bind": list(binds)} if binds else {}), **more}) + "\n"


def fails_to_boot(server: Server) -> None:
    server.allow_log(
        "reload failed", "boot failed", "worker died", "Traceback", "RuntimeError", r"^ "
    )


def replace_worker(server: Server) -> None:
    before = server.worker()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.workers() not in ([], [before]), what="a replacement")
    server.wait_answer("/")


def test_the_directory(stage: Stage, shop) -> None:
    """A worker that is replaced after the failure still finds the old code."""
    server = stage.serve("shop:app", config=config())
    fails_to_boot(server)
    new = stage.directory / "new"
    new.mkdir()
    (new / "shop.py").write_text("raise RuntimeError('not here')\n")
    shop.write("ironhorn.yaml", config(chdir="new"))
    shop.failed_reload(server, "could not boot")
    replace_worker(server)
    assert server.get("/").body == b"v1"


def test_to_another_directory_when_the_former_is_gone(stage: Stage, shop) -> None:
    """As a deploy leaves it that clears old releases away before it tells the server."""
    for release in ("r1", "r2"):
        (stage.directory / release).mkdir()
        shop.write(f"{release}/shop.py", f"from deployed import make\n\napp = make({release!r})\n")
    server = stage.serve("shop:app", config=config(chdir="r1"))
    assert server.get("/").body == b"r1"
    shutil.rmtree(stage.directory / "r1")
    shop.write("ironhorn.yaml", config(chdir="r2"))
    server.reload()
    assert server.get("/").body == b"r2"


def test_the_umask(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", config=config(umask="0077"))

    def umask() -> int:
        status = Path(f"/proc/{server.worker()}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if "Umask" in line), 8)

    assert umask() == 0o077
    shop.write("ironhorn.yaml", config())
    server.reload()
    before = os.umask(0)
    os.umask(before)
    assert umask() == before


def test_an_address_that_is_still_served(stage: Stage, shop, gate: Callable[[str], Gate]) -> None:
    """From a to b and back to a, while a request to the first a goes on."""
    point = gate("point")
    server = stage.serve("shop:app", bind=None, config=config("unix:a"))
    with Wire(str(stage.directory / "a")) as wire:
        wire.send(b"GET /meet?point HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        point.wait_arrived()
        for bind in ("unix:b", "unix:a"):
            mark = server.log.mark()
            shop.write("ironhorn.yaml", config(bind))
            server.send(signal.SIGHUP)
            server.log.wait_for_line(r"\breloaded\b", since=mark)
        point.let_pass()
        assert wire.read_response().status == 200
    with Wire(str(stage.directory / "a")) as wire:
        assert wire.get("/", "Connection: close").read_response().body == b"v1"


def test_what_is_the_masters_own(stage: Stage, shop) -> None:
    """Log and pid file stay where they were when the new code does not boot."""
    server = stage.serve("shop:app", config=config(pid="a.pid"))
    fails_to_boot(server)
    shop.write("ironhorn.yaml", config(pid="b.pid", error_logfile="other.log"))
    shop.deploy("v2", "raises")
    shop.failed_reload(server, "could not boot")
    assert (stage.directory / "a.pid").exists()
    assert not (stage.directory / "b.pid").exists()
