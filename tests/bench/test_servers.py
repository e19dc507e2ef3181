"""Command lines: Ironhorn's are taken by the command as shipped, the others' are at least made."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from .cores import Cores, share
from .running import environment
from .scenarios import all_scenarios
from .servers import ADAPTERS, Ironhorn, Lacking, Place, Uwsgi, Wanted

BIN = Path(sys.executable).parent
SCENARIOS = {scenario.name: scenario for scenario in all_scenarios()}


def test_names_are_unique_and_complete() -> None:
    names = [kind.name for kind in ADAPTERS]
    assert len(set(names)) == len(names)
    assert all(kind.name and kind.title for kind in ADAPTERS)


@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.name)
def test_each_has_a_command_for_each_scenario_or_lacks_something(kind, tmp_path: Path) -> None:
    adapter = kind(Place(BIN))
    for scenario in SCENARIOS.values():
        tls = tmp_path if "tls" in scenario.wanted.needs else None
        wanted = replace(scenario.wanted, tls=tls, files=tmp_path)
        with suppress(Lacking):
            adapter.check(wanted)
            command = adapter.command(wanted, 0, tmp_path)
            assert all(isinstance(word, str) for word in command)


def test_who_closes_connections_keeps_no_idle_ones() -> None:
    with pytest.raises(Lacking, match="closes each connection"):
        Uwsgi(Place(BIN)).check(SCENARIOS["idle-2000"].wanted)


@pytest.mark.parametrize(
    "name", ["hello", "static", "threads", "idle-2000", "memory-flask-preload"]
)
def test_ironhorn_takes_its_options(name: str, tmp_path: Path) -> None:
    wanted = replace(SCENARIOS[name].wanted, files=tmp_path, app="plain:hello")
    adapter = Ironhorn(Place(BIN))
    done = subprocess.run(
        [*adapter.command(wanted, 0, tmp_path), "--check-config"],
        capture_output=True,
        text=True,
        env=environment(adapter, wanted),
        timeout=20,
    )
    assert done.returncode == 0, done.stderr


def test_a_need_is_checked_before_a_server_is_started() -> None:
    for need in ("threads", "workers"):
        wanted = Wanted(**{need: 2})
        lacking = [kind.name for kind in ADAPTERS if need in kind.lacks]
        assert lacking
        for kind in ADAPTERS:
            if kind.name in lacking:
                with pytest.raises(Lacking):
                    kind(Place(BIN)).check(wanted)


def test_cores_are_parted_where_there_are_enough() -> None:
    four = frozenset(range(4))
    assert share(1, four) == Cores(frozenset({0}), frozenset({1}))
    assert share(2, four) == Cores(frozenset({0, 1}), frozenset({2, 3}))
    assert share(3, four) == Cores(four, four)
    assert not share(1, frozenset({0})).parted
