"""Each difference between Ironhorn and another server is listed in differences.yaml with its
reason, and nothing is listed that is none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from harness.packages import Missing

from .cases import cases
from .exchange import Outcome, outcomes
from .servers import PEERS, Understanding, ironhorn, peer

pytestmark = [
    pytest.mark.ironhorn("compares the two"),
    # The first one that runs installs what it needs, and builds uWSGI.
    pytest.mark.timeout(600),
]

LIST = Path(__file__).parent / "differences.yaml"
Differences = dict[str, list[str]]


def listed() -> dict[str, list[dict]]:
    return yaml.safe_load(LIST.read_text())


def listed_for(server: str) -> Differences:
    """The aspects in which a server is said to differ, by case."""
    found: Differences = {}
    for entry in listed()["differences"]:
        for group in entry["cases"] if server in entry["servers"] else []:
            for name in group["names"]:
                assert name not in found, f"{name} is listed twice for {server}"
                found[name] = group["differing"]
    return found


def always(server: str) -> dict[str, object]:
    """The aspects in which a server is the same in all cases."""
    return {
        entry["aspect"]: entry["value"]
        for entry in listed()["always"]
        if server in entry["servers"]
    }


def outcomes_of(running: Understanding) -> dict[str, Outcome]:
    with running:
        return outcomes(running.address, cases())


@pytest.mark.parametrize("server", PEERS)
def test_each_difference_is_listed(server: str, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    try:
        other = peer(server, tmp_path / "theirs")
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)
    theirs, ours = outcomes_of(other), outcomes_of(ironhorn(tmp_path / "ours"))
    constant = always(server)
    differing = {
        name: found.differs_from(replace(ours[name], **constant)) for name, found in theirs.items()
    }
    expected = listed_for(server)
    wrong = [
        f"{name}: differs in {differing.get(name, [])}, listed: {expected.get(name, [])}\n"
        f"    Ironhorn: {ours.get(name)}\n    {server}: {theirs.get(name)}"
        for name in sorted(differing.keys() | expected.keys())
        if differing.get(name, []) != expected.get(name, [])
    ]
    assert not wrong, "\n".join(wrong)
    for aspect, value in constant.items():
        others = [name for name, found in ours.items() if getattr(found, aspect) != value]
        assert others, f"Ironhorn, too, is always the same in {aspect}"


def test_the_list_is_well_formed() -> None:
    known = set(cases())
    for entry in listed()["differences"]:
        assert set(entry["servers"]) <= set(PEERS)
        assert entry["reason"].strip().endswith(".")
        for group in entry["cases"]:
            assert set(group["differing"]) <= set(Outcome.ASPECTS)
            assert set(group["names"]) <= known, set(group["names"]) - known


def test_nothing_is_left_without_an_answer(tmp_path: Path) -> None:
    """By Ironhorn: every case comes to its end, with answers that can be read."""
    found = outcomes_of(ironhorn(tmp_path))
    assert len(found) > 400
    bad = {name: one for name, one in found.items() if {"silent", "garbage"} & set(one.status)}
    assert not bad
