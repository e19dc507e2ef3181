"""The server that the tests of a module share: apps/pep3333.py, an app for each clause."""

from __future__ import annotations

import pytest
from harness import Server, Stage


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    (shared_stage.directory / "file").write_bytes(bytes(range(256)) * 2000)
    server = shared_stage.serve("pep3333:app")
    # Many of the apps break a rule on purpose; their tests assert that a line says so.
    server.allow_log(r"ERROR", r"Traceback")
    return server
