"""Fixtures: a stage for each test (a directory, servers, gates), taken down with assertions after
every test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from harness import Flavour, Gate, Server, Stage, run_once
from harness.process import become_subreaper

FAILED = pytest.StashKey[bool]()
shared_stages: list[Stage] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=["ironhorn", "gunicorn"],
        default="ironhorn",
        help="gunicorn: run protocol, wsgi and signals on the reference, which checks the harness",
    )


def pytest_configure(config: pytest.Config) -> None:
    become_subreaper()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--server") != "gunicorn":
        return
    for item in items:
        if mark := item.get_closest_marker("ironhorn"):
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))
        elif mark := item.get_closest_marker("differs"):
            item.add_marker(pytest.mark.xfail(strict=True, reason=mark.args[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.stash[FAILED] = True
        for parent in item.listchain():
            parent.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """The server under test."""
    return Flavour.find(request.config.getoption("--server"))


@pytest.fixture
def stage(request: pytest.FixtureRequest, flavour: Flavour, tmp_path: Path) -> Iterator[Stage]:
    """A directory, servers and gates of this test alone."""
    stage = Stage(flavour, tmp_path)
    yield stage
    stage.close(failed=request.node.stash.get(FAILED, False))


@pytest.fixture(scope="module")
def shared_stage(
    request: pytest.FixtureRequest, flavour: Flavour, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A stage for a module whose tests share one server; each test still has the log checked after
    it.
    """
    stage = Stage(flavour, tmp_path_factory.mktemp("shared"))
    shared_stages.append(stage)
    yield stage
    shared_stages.remove(stage)
    stage.close(failed=request.node.stash.get(FAILED, False))


@pytest.fixture(autouse=True)
def watch_shared(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test on a shared server: the same workers live, the log has no unexpected error."""
    servers = [server for stage in shared_stages for server in stage.servers]
    before = [(server, server.log.mark(), server.workers()) for server in servers]
    yield
    for server, mark, workers in before:
        server.assert_running()
        server.check_log(mark)
        assert server.workers() == workers, "a shared worker was replaced"


@pytest.fixture
def serve(stage: Stage) -> Callable[..., Server]:
    """Starts a server; see Stage.serve."""
    return stage.serve


@pytest.fixture
def gate(stage: Stage) -> Callable[[str], Gate]:
    """Makes a meeting point with the app; see Gate."""
    return stage.gate


@pytest.fixture
def run(stage: Stage) -> Callable[..., object]:
    """Runs the command to its end; see run_once."""
    return partial(run_once, stage)
