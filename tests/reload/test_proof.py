"""New code that boots and then dies, new workers that nobody can fork: the old ones serve on."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Load, Stage

pytestmark = pytest.mark.ironhorn("has no such promise")

GOOD = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"{}"]
"""
# Boots, serves, and is gone a moment later.
DIES = """
import os, threading
threading.Timer(0.4, os._exit, [9]).start()
"""


def reload_and_wait(server) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("ironhorn"), "ctl", "--pid", str(server.pid)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(server.directory / "run")}
    return subprocess.run(
        [*command, "reload", "--wait"], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_code_that_dies_soon_takes_nobody_away(stage: Stage, workers: int) -> None:
    code = stage.directory / "shop.py"
    code.write_text(GOOD.format("v1"))
    server = stage.serve("shop:app", workers=workers)
    server.allow_log("reload failed", "worker died")
    before = set(server.workers())
    code.write_text(GOOD.format("v2") + DIES)
    with Load(server.address, keep_alive=0, one_request=2) as load:
        done = reload_and_wait(server)
        load.wait_more(20)
    load.stop()
    assert done.returncode != 0
    assert "exit code 9" in done.stdout + done.stderr
    assert before == set(server.workers())
    assert server.get("/").body == b"v1"
    code.write_text(GOOD.format("v3"))
    assert reload_and_wait(server).returncode == 0
    assert server.get("/").body == b"v3"


def test_a_reload_that_cannot_fork_ends(stage: Stage) -> None:
    """With one descriptor left there is no channel to a new worker."""
    server = stage.serve(workers=2, boot_timeout=1)
    server.allow_log("reload failed", "fork failed", "cannot fork")
    before = set(server.workers())
    used = {int(number) for number in os.listdir(f"/proc/{server.pid}/fd")}
    free = next(number for number in range(1000) if number not in used)
    _, hard = limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free + 1, hard))
    server.send(signal.SIGHUP)
    told = server.log.wait_for_line("reload failed")
    assert re.search(r"nothing can be forked: .*os error 24", told)
    assert set(server.workers()) == before
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b")
