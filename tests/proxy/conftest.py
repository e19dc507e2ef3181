"""Fixtures: nginx in front of a server."""

from __future__ import annotations

import pytest
from frameworks.example import Site, prepared_site
from harness import Stage
from proxy.front import front

__all__ = ["front", "site"]


@pytest.fixture
def site(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The Django site with a database of this test alone."""
    return prepared_site(tmp_path_factory.getbasetemp()).copy_to(stage.directory / "site")
