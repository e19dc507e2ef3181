"""Hooks that never return: what waits for them has its limits, and the server can be stopped."""

from __future__ import annotations

import os
import re
import signal

import pytest
from harness import Stage, is_alive, run_once, wait_until

pytestmark = pytest.mark.ironhorn("Gunicorn has others")

HANGS = "import threading\ndef {}: threading.Event().wait()\n"


def test_a_worker_that_is_never_ready_does_not_start(stage: Stage, hooks) -> None:
    hooks.write(HANGS.format("worker_ready(worker)"))
    options = ("--hooks=hooks.py", "--bind=127.0.0.1:0", "--boot-timeout=1")
    done = run_once(stage, *options, "toolbox:app")
    assert done.returncode == 3
    assert re.search('start failed.* reason="boot timeout"', done.stderr)


def test_a_worker_that_is_never_ready_replaces_nobody(stage: Stage, hooks) -> None:
    """It boots until `worker_ready` has returned."""
    hooks.write("")
    server = stage.serve(hooks="hooks.py", boot_timeout=1)
    server.allow_log("reload failed", "worker died", "boot timeout")
    old = server.worker()
    hooks.write(HANGS.format("worker_ready(worker)"))
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reload failed.*boot timeout")
    server.log.wait_for_line("worker died")
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


# Holds the interpreter for ever, and no signal gets it back: a mutex that is locked twice.
DEADLOCK = """
import ctypes
lock, mutex = ctypes.PyDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(mutex)
lock(mutex)
"""


@pytest.mark.alone
def test_hooks_that_hang_at_a_reload_are_not_waited_for(stage: Stage, hooks, every: str) -> None:
    server = stage.serve(hooks=hooks.write(every))
    server.allow_log("reload failed", "hooks not loaded", "worker died", "SIGKILL")
    worker = server.worker()
    hooks.write(
        "import threading\nwhile True:\n  try: threading.Event().wait(9)\n"
        "  except Exception: pass\n"
    )
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"reload failed.*hooks.py: it did not end within 10 s", 20)
    assert server.worker() == worker
    os.kill(worker, signal.SIGKILL)
    server.log.wait_for_line("ready")
    assert server.get("/hello").status == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_does_not_wait_for_them(stage: Stage, hooks, signum: signal.Signals) -> None:
    hooks.write("")
    server = stage.serve(hooks="hooks.py")
    server.allow_log("reload failed")
    hooks.write("import threading\nnote('loading')\nthreading.Event().wait()\n")
    server.send(signal.SIGHUP)
    hooks.wait_noted("loading")
    assert server.stop(signum) == 0
    assert server.log.matching("reload failed.*the server is to stop")


def test_nor_for_a_hook(stage: Stage, hooks) -> None:
    hooks.write(
        "import threading\ndef on_reload(master):\n"
        "  note('on_reload')\n  threading.Event().wait()\n"
    )
    server = stage.serve(hooks="hooks.py")
    server.allow_log("hook failed", "Traceback")
    server.send(signal.SIGHUP)
    hooks.wait_noted("on_reload")
    assert server.stop() == 0
    assert server.log.matching("hook failed hook=on_reload")


@pytest.mark.alone
def test_a_hook_has_ten_seconds(stage: Stage, hooks) -> None:
    hooks.write(
        "import threading\nhangs = threading.Event()\ndef child_exit(*_):\n"
        "  if not hangs.is_set():\n    hangs.set()\n    threading.Event().wait()\n"
    )
    server = stage.serve(hooks="hooks.py", workers=2)
    server.allow_log("hook failed", "Traceback", "worker died", "SIGKILL")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.log.wait_for_line("hook failed hook=child_exit", 20)
    server.log.wait_for_line("ready")
    assert server.get("/hello").status == 200


def test_code_that_no_signal_reaches_is_left_to_whoever_insists(stage: Stage, hooks) -> None:
    hooks.write("")
    server = stage.serve(hooks="hooks.py")
    hooks.write("note('loading')\n" + DEADLOCK)
    server.send(signal.SIGHUP)
    hooks.wait_noted("loading")

    server.expected_exit = 1

    def has_ended() -> bool:
        server.send(signal.SIGTERM)
        return not is_alive(server.pid)

    wait_until(has_ended)
    assert server.wait_exit() == 1
    assert server.log.matching("code that does not return")


@pytest.mark.parametrize("signame", ["SIGTERM", "SIGCHLD"])
def test_a_hook_cannot_have_the_masters_signals(stage: Stage, hooks, signame: str) -> None:
    hooks.write(f"import signal\nsignal.signal(signal.{signame}, signal.SIG_IGN)\n")
    server = stage.serve(hooks="hooks.py")
    server.allow_log("worker died", "SIGKILL")
    server.send(signal.SIGHUP)
    server.log.wait_for_line(f"WARN .*can't have this signal.* signal={signame}")
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("exited")
    os.kill(server.worker(), signal.SIGKILL)
    server.log.wait_for_line("worker died")
    server.log.wait_for_line("ready")
    assert server.stop() == 0
