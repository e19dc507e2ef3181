"""A worker that has become ready, and serves, before the master could hear of it: it is no longer
one that boots, and what it has accepted is not cut.
"""

from __future__ import annotations

import os
import signal

import pytest
from harness import Stage, wait_until
from harness.process import state_of

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]


# What ends workers that boot, and how it shows that the master has done so.
DONE = {
    "SIGHUP": r"generation=3 pid=\d+ ready",
    "SIGWINCH": r"generation=1 pid=\d+ exited",
    "SIGTERM": r"generation=1 pid=\d+ exited",
}


@pytest.mark.parametrize("signum", DONE)
def test_its_request_is_answered(stage: Stage, signum: str) -> None:
    """The master is stopped while a worker becomes ready and takes a request, and finds a signal
    together with the news when it goes on.
    """
    boot, slow = stage.gate("import"), stage.gate("slow")
    code = stage.directory / "shop.py"
    code.write_text("from deployed import make\napp = make('v1')\n")
    server = stage.serve("shop:app")
    server.allow_log("reload failed", "worker died")
    old = server.worker()
    code.write_text("from deployed import make\napp = make('v2', 'hangs')\n")
    server.send(signal.SIGHUP)
    boot.wait_arrived()
    for pid in (old, server.pid):
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda pid=pid: state_of(pid) == "T")
    boot.let_pass()
    with server.connect() as wire:
        wire.get("/meet?slow")
        slow.wait_arrived()
        server.send(signal.Signals[signum])
        boot.let_pass(4)
        for pid in (old, server.pid):
            os.kill(pid, signal.SIGCONT)
        server.log.wait_for_line(DONE[signum])
        slow.let_pass()
        assert wire.read_response().body == b"v2"
