"""Some of the faults of scripts/reliability, on Ironhorn alone: what the table says of it holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from . import death, recycle, reload, requests, table
from .fault import Fault
from .servers import Adapter, Gunicorn, Ironhorn

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("measured by scripts/reliability")]


@pytest.fixture
def ironhorn() -> Adapter:
    return Ironhorn(Path(sys.executable).parent)


def facts_of(fault: Fault, adapter: Adapter, directory: Path) -> dict[str, object]:
    """Makes the fault; its facts must have a cell in the table."""
    facts = dict(fault.run(adapter, directory))
    print(fault.tell(facts))
    assert "not_started" not in facts
    assert "overdue" not in facts
    return facts


@pytest.mark.parametrize("fault", [reload.reload_broken_code, reload.reload_broken_config])
def test_a_broken_reload(ironhorn: Adapter, tmp_path: Path, fault: Fault) -> None:
    facts = facts_of(fault, ironhorn, tmp_path)
    assert facts["failed"] == 0
    assert (facts["state"], facts["workers"], facts["mended"]) == ("serves v1", 2, "serves v9")


def test_recycling_with_broken_code(ironhorn: Adapter, tmp_path: Path) -> None:
    facts = facts_of(recycle.recycle_broken_code, ironhorn, tmp_path)
    assert (facts["failed"], facts["state"], facts["workers"]) == (0, "serves v1", 2)


def test_a_stuck_request(ironhorn: Adapter, tmp_path: Path) -> None:
    facts = facts_of(requests.stuck_request_own_thread, ironhorn, tmp_path)
    assert (facts["outcome"], facts["others"]) == ("504", True)
    assert facts["logged"] == "names the request"
    assert facts["stack"] == "shown"


def test_stopping_with_a_queue(ironhorn: Adapter, tmp_path: Path) -> None:
    facts = facts_of(requests.stop_with_a_queue_1, ironhorn, tmp_path)
    assert (facts["busy"], facts["waiting"]) == ("1, 1, 1", "20, 20, 20")
    assert facts["exit_code"] == "0, 0, 0"


def test_a_killed_master(ironhorn: Adapter, tmp_path: Path) -> None:
    facts = facts_of(death.kill_master, ironhorn, tmp_path)
    assert (facts["left"], facts["successor"]) == (0, "starts")


def test_what_a_server_lacks_is_told(tmp_path: Path) -> None:
    """And a server that is not there is no success."""
    (tmp_path / "gunicorn").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "gunicorn").chmod(0o755)
    directory = tmp_path / "run"
    directory.mkdir()
    facts = death.kill_one.run(Gunicorn(tmp_path), directory)
    assert facts["not_started"] == "exit code 7: "
    assert death.kill_one.tell(facts) == "did not start: exit code 7: "
    assert death.kill_one.tell({"lacking": "no such thing"}) == "not measured: no such thing"


def test_the_document_has_the_table_of_the_figures() -> None:
    """docs/reliability.md is what docs/reliability.json gives."""
    results = table.Results(Path(__file__).parents[2] / "docs")
    assert results.shown() == table.table(results.servers).strip()
