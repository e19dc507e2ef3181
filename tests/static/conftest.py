"""One server for the tests that only ask for files."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Server, Stage
from static import site


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return site.serve(shared_stage, health_path="/static/health")


@pytest.fixture(scope="module")
def root(shared_stage: Stage) -> Path:
    """The directory that is served."""
    return shared_stage.directory / "assets"
