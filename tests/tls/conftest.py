"""Fixtures: certificates, and clients that trust them."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Stage
from tls.certificates import Authority


@pytest.fixture
def authority(stage: Stage) -> Authority:
    """Signs the certificates of one test, in its directory."""
    return Authority(stage.directory)


@pytest.fixture
def certfile(authority: Authority) -> Path:
    """The server's certificate, with its key in the same file."""
    return authority.issue("server", "localhost", "127.0.0.1")
