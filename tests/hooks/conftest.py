"""Hooks that write down what happened, for tests to read."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from harness import Stage, wait_until

RECORDER = """
import json, os, sys

def note(hook, **more):
    seen = {"hook": hook, "pid": os.getpid(), "ppid": os.getppid(), "app": "toolbox" in sys.modules}
    line = json.dumps({**seen, **more}) + "\\n"
    with open(os.path.join(os.environ["TEST_DIR"], "noted"), "ab", buffering=0) as file:
        file.write(line.encode())
"""

EVERY = """
def on_starting(master): note("on_starting", workers=master.settings["workers"])
def pre_fork(master, worker): note("pre_fork", nr=worker.nr, worker=worker.pid, age=worker.age)
def when_ready(master): note("when_ready")
def on_reload(master): note("on_reload")
def reload_failed(master, reason): note("reload_failed", reason=reason)
def worker_timeout(master, worker, request):
    note("worker_timeout", worker=worker.pid, path=request.path, method=request.method)
def child_exit(master, worker, reason):
    note("child_exit", nr=worker.nr, worker=worker.pid, reason=reason)
def on_exit(master): note("on_exit")
def post_fork(worker): note("post_fork", nr=worker.nr, worker=worker.pid, age=worker.age)
def post_worker_init(worker): note("post_worker_init")
def worker_ready(worker): note("worker_ready")
def pre_request(worker, environ): note("pre_request", path=environ["PATH_INFO"])
def post_request(worker, environ, status, seconds):
    note("post_request", path=environ["PATH_INFO"], status=status, seconds=seconds)
def worker_exit(worker): note("worker_exit", nr=worker.nr)
"""


class Hooks:
    """The file of hooks of a test, and what its functions have noted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "hooks.py"

    def write(self, text: str, name: str = "hooks.py") -> str:
        """Makes the file, with `note` in it; returns its name."""
        (self.directory / name).write_text(RECORDER + textwrap.dedent(text))
        return name

    def noted(self, *hooks: str) -> list[dict[str, Any]]:
        """What was noted so far, by these hooks or by all."""
        try:
            lines = (self.directory / "noted").read_text().splitlines()
        except FileNotFoundError:
            return []
        notes = [json.loads(line) for line in lines]
        return [note for note in notes if not hooks or note["hook"] in hooks]

    def wait_noted(self, hook: str, count: int = 1) -> dict[str, Any]:
        """Waits until a hook has noted something so many times; returns the last note."""
        return wait_until(lambda: self.noted(hook)[count - 1 :], what=hook)[0]


@pytest.fixture
def hooks(stage: Stage) -> Hooks:
    """An empty file of hooks."""
    return Hooks(stage.directory)


@pytest.fixture
def every() -> str:
    """The text of all hooks there are."""
    return EVERY
