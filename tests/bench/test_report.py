"""Tables and plots, from figures that were made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import peers, ranking, report, results, svg
from .cores import share
from .scenarios import all_scenarios
from .servers import ROOT, Place

SCENARIOS = {scenario.name: scenario for scenario in all_scenarios()}


def entry(title: str, floor: bool = False, **more: Any) -> dict[str, Any]:
    """A server's part of a result."""
    return {"title": title, "version": "1", "floor": floor, "figures": {}, "notes": [], **more}


def figures(cpu: list[float]) -> dict[str, list[float]]:
    """Figures of which only one matters."""
    rounds = len(cpu)
    return {"cpu": cpu, **{name: [1.0] * rounds for name in ("rps", "p50", "p99", "p999", "pss")}}


def made_up(name: str = "hello") -> results.Result:
    """A result with every kind of server."""
    made = results.begin(SCENARIOS[name], 6, 1, "wrk 4", share(1))
    made["servers"] = {
        "ironhorn": entry("Ironhorn", figures=figures([4.0, 4.1, 4.2, 4.0, 4.1, 4.2])),
        "fastwsgi": entry("fastwsgi", figures=figures([5.0] * 6)),
        "bjoern": entry("bjoern", figures=figures([1.0]), wrong="one | two answers"),
        "uwsgi": entry("uWSGI", lacking="closes each connection"),
        "gevent": entry("gevent", figures=figures([90.0] * 6), notes=["a note"]),
        "nginx": entry("nginx", floor=True, figures=figures([2.0] * 6)),
    }
    made["bare_us"] = [0.5]
    return made


def test_who_is_wrong_is_not_ranked() -> None:
    made = made_up()
    assert ranking.best_peer(made, "cpu") == "fastwsgi"
    assert report.order(made) == ["ironhorn", "fastwsgi", "gevent", "bjoern", "uwsgi", "nginx"]


def test_ratios() -> None:
    ours = ranking.ratios(made_up())["ironhorn"]["cpu"]
    assert ours == {"best_peer": 0.82, "nginx": 2.05, "bare": 8.2}


def test_the_table_names_what_is_wrong_and_what_lacks() -> None:
    rows = report.scenario_table(made_up()).splitlines()
    assert "| **Ironhorn** 1 |" in rows[2]
    assert "4.1 ±2 %<br>0.82 2.05n 8.20b" in rows[2]
    (wrong,) = (row for row in rows if "bjoern" in row)
    assert wrong.endswith("| wrong: one / two answers |")
    (lacking,) = (row for row in rows if "uWSGI" in row)
    assert lacking.endswith(f"| {report.CANNOT}: closes each connection |")
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_the_overview_compares_with_the_best_peer() -> None:
    text = report.overview({"hello": made_up()})
    assert "| fastwsgi | 5.0 | 0.82 | 0.80 to 0.84 | ahead | 6 | 1.00 |" in text


def test_the_overview_is_of_the_final() -> None:
    """Which decides also against what the rounds of all have shown."""
    made = made_up()
    made["final"] = made_up()
    pair = {name: made["servers"][name] for name in ranking.finalists(made) or ()}
    assert set(pair) == {"ironhorn", "fastwsgi"}
    made["final"]["servers"] = {
        "ironhorn": entry("Ironhorn", figures={"cpu": [6.0] * 7, "rps": [50.0] * 7}),
        "fastwsgi": entry("fastwsgi", figures={"cpu": [4.0] * 7, "rps": [100.0] * 7}),
    }
    text = report.overview({"hello": made})
    assert "| fastwsgi | 4.0 | 1.50 | 1.50 to 1.50 | behind | 7 alone | 0.50 |" in text


def test_a_final_that_one_has_not_finished_is_none() -> None:
    made = made_up()
    made["final"] = made_up()
    made["final"]["servers"]["ironhorn"]["wrong"] = "another answer"
    assert ranking.final(made) is made
    assert report.played(made) == ""


def test_a_scenario_without_peers_is_told() -> None:
    made = made_up()
    made["servers"] = {"ironhorn": made["servers"]["ironhorn"]}
    assert "| none |" in report.overview({"hello": made})
    assert "Ironhorn" in report.plot(made)


def test_everything_is_written_and_read_again(tmp_path: Path) -> None:
    found = {name: made_up(name) for name in ("hello", "connections-1", "connections-16")}
    for made in found.values():
        results.write(tmp_path, made)
    assert results.read(tmp_path) == found
    report.write(tmp_path, found, {"meinheld": "does not build"})
    text = (tmp_path / "README.md").read_text()
    assert "- meinheld: does not build" in text
    for plot in ("hello.svg", "connections.svg"):
        assert f"({plot})" in text
        root = ElementTree.fromstring((tmp_path / plot).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_bars_and_lines_bear_any_name_and_gap() -> None:
    bars = svg.bars("<&>", [svg.Bar("a & b", 0.0, "0"), svg.Bar("c", 5.0, "5")])
    lines = svg.lines("t", ["1", "2"], {"a < b": [None, 2.0], "c": [1.0, 3.0]}, "µs")
    for text in (bars, lines, svg.bars("none", [])):
        ElementTree.fromstring(text)


def test_commands_are_told_without_this_machine() -> None:
    place = Place(Path("/x/env/bin"))
    command = ["/x/env/bin/granian", "--port=12345", "--x=/tmp/t/files/a", "--home=/x/env"]
    command.append(str(ROOT / "tests" / "a.py"))
    told = results.general(command, place, {"FILES": Path("/tmp/t/files")})
    assert told == "BIN/granian --port=PORT --x=FILES/a --home=ENV CLONE/tests/a.py"


def test_every_peer_is_pinned() -> None:
    for wanted in peers.PEERS.values():
        assert "==" in wanted[0]
