"""Fixtures: an example served as it is, and the same example inside wsgiref.validate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from frameworks.example import Example, Pace, Site, prepared_site
from harness import Stage


@pytest.fixture(params=["plain", "validated", "threads"])
def example(request: pytest.FixtureRequest, stage: Stage) -> Example:
    """Serves examples by name.

    Every test is run three times, the second time with wsgiref.validate around the app, the third
    time in eight threads besides.
    """
    threads = 8 if request.param == "threads" else None
    return Example(stage, validated=request.param != "plain", threads=threads)


@pytest.fixture
def pace(stage: Stage) -> Iterator[Pace]:
    """Decides when the app makes its next chunk."""
    pace = Pace(stage.directory / "pace")
    yield pace
    pace.close()


@pytest.fixture
def site(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The Django site with a database of this test alone."""
    return prepared_site(tmp_path_factory.getbasetemp()).copy_to(stage.directory / "site")
