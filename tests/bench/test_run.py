"""A tiny run with Ironhorn and nginx: what is right is measured, what is wrong is named, and no
process is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.process import children_of, is_alive

from . import client, results, wrk
from .asking import Asking, Right
from .checks import Wrong
from .measuring import cpu_seconds, pss
from .rounds import Plan, Workshop, measure
from .running import Ended
from .scenarios import all_scenarios
from .servers import Adapter, Ironhorn, Nginx, Place
from .trial import Trial

SCENARIOS = {scenario.name: scenario for scenario in all_scenarios()}
PLACE = Place(Path(sys.executable).parent)
PLAN = Plan(PLACE, rounds=2, seconds=0.1, tool="python")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(children_of(os.getpid()))
    yield
    assert set(children_of(os.getpid())) <= before


@pytest.mark.parametrize("name", ["hello", "post-16k"])
def test_a_tiny_run(name: str, workshop: Workshop) -> None:
    kept: list[results.Result] = []
    adapters: list[Adapter] = [Ironhorn(PLACE), Nginx(PLACE)]
    result = measure(SCENARIOS[name], adapters, PLAN, workshop, kept.append)
    ours = result["servers"]["ironhorn"]
    assert "wrong" not in ours
    assert "lacking" not in ours
    for metric in SCENARIOS[name].metrics:
        assert len(ours["figures"][metric]) == 2
        assert min(ours["figures"][metric]) > 0
    assert result["ratios"]["ironhorn"]["cpu"]["bare"] > 1
    assert str(workshop.directory) not in ours["command"]
    nginx = result["servers"]["nginx"]
    assert bool(nginx["figures"]) == (SCENARIOS[name].wanted.floor is not None)
    assert "lacking" in nginx or nginx["figures"]["cpu"]
    assert len(kept) == 2


def test_a_wrong_answer_is_named(workshop: Workshop) -> None:
    scenario = replace(SCENARIOS["hello"], right=Right(b"something else"))
    plan = replace(PLAN, rounds=1)
    result = measure(scenario, [Ironhorn(PLACE)], plan, workshop)
    assert "the body is another one" in result["servers"]["ironhorn"]["wrong"]


def trial(workshop: Workshop, directory: Path, name: str = "hello") -> Trial:
    """One that a test can start."""
    scenario = SCENARIOS[name]
    files, certificates = workshop.files, workshop.certificates
    return Trial(Ironhorn(PLACE), scenario, directory, files, certificates, 0.1, "python")


def test_a_server_is_ended_whatever_happens(workshop: Workshop, tmp_path: Path) -> None:
    pids: list[int] = []

    def fail() -> None:
        with trial(workshop, tmp_path).start() as running:
            pids.extend([running.pid, *children_of(running.pid)])
            raise Wrong("anything")

    with pytest.raises(Wrong):
        fail()
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_who_does_not_start_says_why(workshop: Workshop, tmp_path: Path) -> None:
    broken = trial(workshop, tmp_path)
    broken.scenario = replace(broken.scenario, wanted=replace(broken.scenario.wanted, app="no:app"))
    with pytest.raises(Ended), broken.start():
        pass


def test_checks_over_every_kind_of_answer(workshop: Workshop, tmp_path: Path) -> None:
    """Those that ask more than one thing."""
    for name in ("browser", "pipelined", "stream", "file-20k", "static", "tls", "hello-close"):
        directory = tmp_path / name
        directory.mkdir()
        attempt = trial(workshop, directory, name)
        with attempt.start() as running:
            attempt.check(running)
        assert attempt.notes == []


def test_cpu_and_memory_of_the_tree(workshop: Workshop, tmp_path: Path) -> None:
    with trial(workshop, tmp_path).start() as running:
        before = cpu_seconds(running.pid)
        client.drive(running.address, Asking().raw(), 4, 0.1)
        assert cpu_seconds(running.pid) > before
        assert pss(running.pid) > 1 << 20
        measured = client.drive(running.address, Asking().raw(), 2, 0.2, rate=100)
    assert (measured.requests, measured.errors) == (20, 0)
    assert measured.figures()["p50"] > 0


@pytest.mark.parametrize(
    ("pieces", "keeps"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"\r\na", b"b"], True),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], False),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", b"a\r\n0\r\n\r\n"], True),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", b"de", b""], False),
    ],
)
def test_the_client_knows_when_an_answer_is_whole(pieces: list[bytes], keeps: bool) -> None:
    answer = client.Answer()
    assert [answer.take(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert answer.keeps == keeps


def test_what_is_told_to_wrk_and_by_it(tmp_path: Path) -> None:
    asking = Asking("POST", headers=(("X-A", 'b"c'),), body=b"body")
    load = wrk.Load(("127.0.0.1", 1), asking, 4, 1, pipelined=16, pause_ms=10)
    program = wrk.script(load, tmp_path)
    assert 'wrk.headers["X-A"] = "b\\"c"' in program
    assert (tmp_path / "wrk.body").read_bytes() == b"body"
    assert "for i = 1, 16 do" in program
    assert "math.random(5, 15)" in program
    told = (
        'bench: {"requests": 10, "us": 500000, "bytes": 1, "p50": 100.0, "p99": 0.0, '
        '"p999": 300.0, "connect": 1, "read": 2, "write": 0, "status": 0, "timeout": 0}\n'
    )
    found = wrk.read("Running\n" + told)
    assert (found["rps"], found["p50"], found["errors"], found["ends"]) == (20.0, 0.1, 1, 2)
    assert "p99" not in found
    with pytest.raises(wrk.Failed, match="unable to connect"):
        wrk.read("", "unable to connect to 127.0.0.1")
