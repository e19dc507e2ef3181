"""Fixtures: an example served as it is, and on other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from frameworks.example import Example, Pace, Site, prepared_site
from frameworks.ways import DIRECT, Way
from harness import Stage
from proxy.front import front as front
from proxy.nginx import Nginx
from tls.certificates import Authority


@pytest.fixture(params=DIRECT)
def example(request: pytest.FixtureRequest, stage: Stage, front: Callable[..., Nginx]) -> Way:
    """Serves examples by name.

    Every test is run three times: as it is, with wsgiref.validate around the app, and in eight
    threads besides. Those that are marked `every_way` are run over TLS and behind nginx as well.
    """
    name = request.param
    served = Example(
        stage,
        validated=name in ("validated", "threads", "tls-threads", "uwsgi"),
        threads=8 if name in ("threads", "tls-threads") else None,
    )
    return Way(name, served, Authority(stage.directory), front)


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
