"""Servers that are configured by a gunicorn.conf.py."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from harness import Server, Stage, wait_until

NOTE = """
import json as _json, os as _os, sys as _sys

def _note(hook, **more):
    seen = {"hook": hook, "pid": _os.getpid(), "app": "toolbox" in _sys.modules, **more}
    with open(_os.path.join(_os.environ["TEST_DIR"], "noted"), "ab", buffering=0) as file:
        file.write(_json.dumps(seen).encode() + b"\\n")
"""


VARIABLES = """
import os, toolbox

def app(environ, start_response):
    if environ["PATH_INFO"] != "/variable":
        return toolbox.app(environ, start_response)
    body = os.environ[environ["QUERY_STRING"]].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Site:
    """A directory with a gunicorn.conf.py."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        # /variable?NAME answers with the value of an environment variable.
        (stage.directory / "variables.py").write_text(VARIABLES)

    def write(self, text: str, name: str = "gunicorn.conf.py") -> None:
        """Makes the file, with `_note` in it and the line numbers of `text`."""
        text = textwrap.dedent(text)
        (self.stage.directory / name).write_text(text + NOTE)

    def serve(self, *arguments: str, workers: int = 1, **settings: object) -> Server:
        """Starts a server in it."""
        server = self.stage.serve("variables:app", *arguments, ready=False, **settings)
        server.wait_ready(workers)
        return server

    def noted(self, hook: str) -> list[dict[str, Any]]:
        """What the hook has noted so far."""
        try:
            lines = (self.stage.directory / "noted").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [note for note in map(json.loads, lines) if note["hook"] == hook]

    def wait_noted(self, hook: str, count: int = 1) -> dict[str, Any]:
        """Waits until it has noted something so many times; returns the last note."""
        return wait_until(lambda: self.noted(hook)[count - 1 :], what=hook)[0]


@pytest.fixture
def site(stage: Stage) -> Site:
    """An empty directory."""
    return Site(stage)
