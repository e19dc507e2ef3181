"""Hooks that never return: what waits for them has its limits, and the server can be stopped."""

from __future__ import annotations

import signal

import pytest
from harness import Stage, run_once

pytestmark = pytest.mark.ironhorn("Gunicorn has others")

HANGS = "import threading\ndef {}: threading.Event().wait()\n"


def test_a_worker_that_is_never_ready_does_not_start(stage: Stage, hooks) -> None:
    hooks.write(HANGS.format("worker_ready(worker)"))
    options = ("--hooks=hooks.py", "--bind=127.0.0.1:0", "--boot-timeout=1")
    done = run_once(stage, *options, "toolbox:app")
    assert done.returncode == 3
    assert 'start failed worker=1' in done.stderr


def test_a_worker_that_is_never_ready_replaces_nobody(stage: Stage, hooks) -> None:
    """It boots until `worker_ready` has returned."""
    hooks.write("")
    server = stage.serve(hooks="hooks.py", boot_timeout=1)
    server.allow_log("reload failed", "worker died", "boot timeout")
    old = server.worker()
    hooks.write(HANGS.format("worker_ready(worker)"))
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reload failed.*boot timeout")
    assert server.get("/hello").status == 200
    assert server.worker() == old
    assert server.stop() == 0


def test_a_worker_that_is_not_ready_yet_is_stopped_at_once(stage: Stage, hooks) -> None:
    hooks.write("def worker_ready(worker):\n  note('worker_ready')\n")
    server = stage.serve(hooks="hooks.py")
    hooks.write(
        "import threading\ndef worker_ready(worker):\n"
        "  note('worker_ready', hangs=True)\n  threading.Event().wait()\n"
    )
    server.send(signal.SIGHUP)
    hooks.wait_noted("worker_ready", 2)
    assert server.stop() == 0
