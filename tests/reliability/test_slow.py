"""A few of the slow clients of `scripts/reliability slow`, on Ironhorn alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Wire
from harness.measure import living

from . import idle, slow, table
from .fault import Overdue, limit
from .running import Running
from .servers import Adapter, Ironhorn, IronhornThreads, Lacking, Uwsgi, Wanted

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("measured by scripts/reliability")]

BIN = Path(sys.executable).parent
TESTS = Path(__file__).parents[1]
FEW = 12
EITHER = pytest.mark.parametrize(
    "adapter", [Ironhorn(BIN), IronhornThreads(BIN)], ids=["inline", "threads"]
)


@EITHER
def test_others_are_served_while_slow_clients_are_held(adapter: Adapter, tmp_path: Path) -> None:
    begins: list[Callable[[Running], Wire]] = [
        slow.silent,
        slow.half_head,
        slow.half_body,
        slow.Reader,
        slow.lingering,
    ]
    wanted = Wanted(workers=1, threads=slow.THREADS[type(adapter)])
    with Running(adapter, tmp_path, wanted) as running:
        for begin in begins:
            facts = slow.measured(running, FEW, begin, asked=5)
            assert (facts["asked"], facts["failed"], facts["opened"]) == (5, 0, FEW)
            if begin is not slow.lingering:
                assert facts["held_at_the_end"] == FEW


@EITHER
def test_others_are_served_where_slow_clients_are_as_many_as_there_may_be(
    adapter: Adapter, tmp_path: Path
) -> None:
    begins: list[Callable[[Running], Wire]] = [slow.half_body, slow.Reader]
    threads = slow.THREADS[type(adapter)]
    wanted = Wanted(workers=1, threads=threads, connections=FEW)
    with Running(adapter, tmp_path, wanted) as running:
        for begin in begins:
            facts = slow.measured(running, FEW, begin, asked=5)
            assert (facts["asked"], facts["failed"], facts["opened"]) == (5, 0, FEW)


def test_others_are_served_while_handshakes_are_half_done(tmp_path: Path) -> None:
    wanted = Wanted(workers=1, tls=slow.certify(tmp_path))
    with Running(Ironhorn(BIN), tmp_path, wanted) as running:
        facts = slow.measured(running, FEW, slow.half_hello, asked=5)
    assert (facts["failed"], facts["held_at_the_end"]) == (0, FEW)
    assert slow.SLOW[0].tell(facts).endswith("0 of 5 failed")


@EITHER
def test_idle_connections_are_kept(adapter: Adapter, tmp_path: Path) -> None:
    facts = idle.measured(adapter, tmp_path, connections=FEW, seconds=0.02)
    assert facts["connections"] == FEW
    assert "KiB each" in idle.IDLE.tell(facts)


def test_nothing_is_left_of_a_server_whose_time_is_over(tmp_path: Path) -> None:
    running = Running(Ironhorn(BIN), tmp_path, Wanted(), trouble="hangs")
    with pytest.raises(Overdue), limit(1), running:
        pytest.fail("it has started")
    assert living(running.pid) == []


def test_who_is_not_answered_has_failed(tmp_path: Path) -> None:
    facts = {"asked": 5, "failed": 5, "p50": None, "p99": None, "calm_p99": 1.5}
    assert slow.SLOW[0].tell(facts) == "nothing answered, 5 of 5 failed (calm p99 1.5 ms)"
    with pytest.raises(Lacking):
        idle.measured(Uwsgi(BIN), tmp_path, FEW, 0.02)


def test_the_document_has_the_table_of_the_figures() -> None:
    """docs/reliability.md is what docs/slow-clients.json gives."""
    faults = [*slow.SLOW, idle.IDLE]
    docs = Path(__file__).parents[2] / "docs"
    results = table.Results(docs, "slow-clients.json", faults, table.SLOW_BEGIN)
    assert results.shown() == table.table(results.servers, faults).strip()


def test_the_command_finds_slow_behind_what_the_script_says() -> None:
    command = [sys.executable, "-m", "reliability", "--peers", "nowhere", "slow", "--help"]
    told = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True).stdout
    assert "half_bodies_1000" in told
    assert "many_reloads" not in told
