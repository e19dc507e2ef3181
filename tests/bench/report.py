"""The report: tables in Markdown, and a plot for each scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import ranking, svg
from .results import Result
from .scenario import METRICS
from .statistics import summary

CANNOT = "\N{EN DASH}"
HEAD = f"""\
# Benchmarks

Written by `scripts/bench`: do not edit. The raw figures are in the JSON files beside this one, with
machine, versions, command lines and every round.

The servers of a scenario took turns in each round, each started anew, with the same app, workers
and threads, pinned as the scenario says. Each answer was checked first: what is *wrong* is named
and not ranked, "{CANNOT}" is what a server can't do. A figure is the median of the rounds, ± half
of what is between the lowest and the highest. Below it is its ratio to the best peer that answers
correctly, and to nginx (n) answering the same bytes without an app; CPU also to a bare loop (b)
that builds the environ and calls the app, without socket or parser. CPU is that of all processes of
the server, user and system. PSS is that of the whole tree after the load.
"""
LEGEND = """\
Rounds "alone" are of these two, in turns, after those of all, which are below; the raw figures have
them under "final". "Requests/s" is the ratio in the same rounds. "Ahead" and "behind" are said
where all of the 95 % interval of the ratio, round by round, is on that side of 1; with a question
mark where there were too few rounds for an interval (six are needed) and their range stands for it.
"""
CURVES = {
    "connections": "CPU by number of connections",
    "workers": "CPU by number of workers",
}


def table(rows: Sequence[Sequence[str]], right: int = 1) -> str:
    """A table with the first row as its head; columns from `right` on are numbers."""
    head, *body = rows
    line = ["---" if at < right else "--:" for at in range(len(head))]
    return "".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in (head, line, *body)
    )


def cell(result: Result, name: str, metric: str) -> str:
    """A figure with its spread and ratios."""
    figures = result["servers"][name]["figures"].get(metric)
    if not figures:
        return ""
    found = summary(figures)
    told = METRICS[metric].told(found.median)
    if found.rounds > 1:
        told += f" ±{found.spread * 100:.0f} %"
    ratios = ranking.ratios(result)[name][metric]
    marks = [f"{value:.2f}{mark}" for mark, value in marked(ratios) if value is not None]
    return told + (f"<br>{' '.join(marks)}" if marks else "")


def marked(ratios: Mapping[str, float | None]) -> list[tuple[str, float | None]]:
    """Each ratio with what it is to."""
    signs = {"best_peer": "", "nginx": "n", "bare": "b"}
    return [(signs[name], value) for name, value in ratios.items()]


def order(result: Result) -> list[str]:
    """Best first by the main figure; then wrong ones, those that can't, and the floor."""
    main = result["main"]
    found = ranking.summaries(result, main)
    sign = 1 if METRICS[main].lower_is_better else -1

    def key(name: str) -> tuple[int, float]:
        entry = result["servers"][name]
        place = sign * found[name].median if name in found else 0
        if entry["floor"]:
            return 3, place
        if ranking.is_ranked(entry) and name in found:
            return 0, place
        return (1 if "wrong" in entry else 2), place

    return sorted(result["servers"], key=key)


def state(entry: Mapping[str, Any]) -> str:
    """What there is to say of a server beside figures."""
    if "wrong" in entry:
        return f"wrong: {entry['wrong']}"
    if "lacking" in entry:
        return f"{CANNOT}: {entry['lacking']}"
    return "; ".join(entry["notes"])


def scenario_table(result: Result) -> str:
    """A row a server."""
    metrics = result["metrics"]
    rows = [["Server", *(METRICS[name].title for name in metrics), ""]]
    for name in order(result):
        entry = result["servers"][name]
        title = f"**{entry['title']}**" if name == ranking.OURS else entry["title"]
        cells = [cell(result, name, metric) for metric in metrics]
        if "wrong" in entry or "lacking" in entry:
            cells = [value or CANNOT for value in cells]
        rows.append([f"{title} {entry['version']}", *cells, state(entry)])
    if result["bare_us"]:
        bare = METRICS["cpu"].form.replace(".1f", ".2f").format(summary(result["bare_us"]).median)
        cells = [bare if name == "cpu" else "" for name in metrics]
        rows.append(["bare loop", *cells, "environ and app alone"])
    return table(rows)


def overview(results: Mapping[str, Result]) -> str:
    """A row a scenario: Ironhorn and the best peer in its main figure, and how many requests each
    answers: who is best in one figure may have collapsed in another.
    """
    head = "Scenario|Figure|Ironhorn|Best peer|Its figure|Ratio|95 %||Rounds|Requests/s"
    rows = [head.split("|")]
    for name, result in results.items():
        metric, of = result["main"], ranking.final(result)
        found, peer = ranking.summaries(of, metric), ranking.best_peer(of, metric)
        title = f"[{result['title']}](#{name})"
        ours = found.get(ranking.OURS)
        entry = of["servers"].get(ranking.OURS, {})
        told = METRICS[metric].told(ours.median) if ours else state(entry) if entry else "not run"
        row = [title, METRICS[metric].title, told]
        if peer is None:
            row += ["none", "", "", "", "", "", ""]
        else:
            row += [of["servers"][peer]["title"], METRICS[metric].told(found[peer].median)]
            row += compare_cells(ranking.against(of, metric, peer))
            rounds = min(ours.rounds, found[peer].rounds) if ours else 0
            row.append(f"{rounds}{' alone' if of is not result else ''}")
            row += compare_cells(ranking.against(of, "rps", peer))[:1]
        rows.append(row)
    return table(rows, right=10)


def compare_cells(compared: tuple[Any, str] | None) -> list[str]:
    """Ratio, interval and verdict."""
    if compared is None:
        return ["", "", ""]
    found, word = compared
    return [f"{found.median:.2f}", f"{found.low:.2f} to {found.high:.2f}", word]


def described(result: Result) -> str:
    """How it was measured."""
    workers = f"{result['workers']} worker{'s' if result['workers'] != 1 else ''}"
    threads = f" of {result['threads']} threads" if result["threads"] > 1 else ""
    rounds = f"{result['rounds']} round{'s' if result['rounds'] != 1 else ''}"
    return (
        f"{result['about']} {workers}{threads}; {result['cores']}; {result['client']}; "
        f"{rounds} of {result['seconds']:g} s, {result['measured'][:10]}{played(result)}."
    )


def played(result: Result) -> str:
    """When the final was, if there was one."""
    last = ranking.final(result)
    if last is result:
        return ""
    return f"; {last['rounds']} alone of {last['seconds']:g} s, {last['measured'][:10]}"


def machines(results: Mapping[str, Result]) -> str:
    """Every machine that figures are from."""
    seen = {}
    for result in (*results.values(), *map(ranking.final, results.values())):
        told = result["machine"]
        seen[
            f"{told['cpus']} cores of {told['cpu']}, {told['memory_gib']} GiB, {told['kernel']}, "
            f"{told['distribution']}, CPython {told['python']}"
        ] = None
    return "".join(f"- {each}\n" for each in seen)


def document(results: Mapping[str, Result], missing: Mapping[str, str]) -> str:
    """The whole report."""
    parts = [HEAD, machines(results), "## Overview\n", overview(results), LEGEND]
    lacking = "".join(f"- {name}: {why}\n" for name, why in missing.items())
    if lacking:
        parts.append(f"Could not be installed:\n\n{lacking}")
    for prefix, title in CURVES.items():
        if curve_names(results, prefix):
            parts.append(f"![{title}]({prefix}.svg)\n")
    for name, result in results.items():
        parts.append(f'<a id="{name}"></a>\n\n## {result["title"]}\n')
        parts.append(described(result) + "\n")
        parts.append(f"![{METRICS[result['main']].title}]({name}.svg)\n")
        parts.append(scenario_table(result))
    return "\n".join(parts)


def plot(result: Result) -> str:
    """The main figure of each server that answered correctly, best first, and the floor."""
    main = result["main"]
    found, rows = ranking.summaries(result, main), []
    for name in order(result):
        entry = result["servers"][name]
        if name not in found or "wrong" in entry:
            continue
        colour = svg.THEIRS if name != ranking.OURS else svg.OURS
        colour = svg.FLOOR if entry["floor"] else colour
        value = found[name].median
        rows.append(svg.Bar(entry["title"], value, METRICS[main].told(value), colour))
    return svg.bars(f"{result['title']}: {METRICS[main].title}", rows)


def curve_names(results: Mapping[str, Result], prefix: str) -> list[str]:
    """The scenarios of a curve, by their number; none where it would be a point."""
    names = [name for name in results if name.startswith(f"{prefix}-")]
    names.sort(key=lambda name: int(name.rpartition("-")[2]))
    return names if len(names) > 1 else []


def curve(results: Mapping[str, Result], prefix: str) -> str:
    """CPU a request over connections or workers."""
    names = curve_names(results, prefix)
    found = [ranking.summaries(results[name], "cpu") for name in names]
    series: dict[str, list[float | None]] = {}
    for at, name in enumerate(names):
        for server, entry in results[name]["servers"].items():
            if (ranking.is_ranked(entry) or entry["floor"]) and server in found[at]:
                row = series.setdefault(entry["title"], [None] * len(names))
                row[at] = found[at][server].median
    places = [name.rpartition("-")[2] for name in names]
    return svg.lines(CURVES[prefix], places, series, METRICS["cpu"].title)


def write(directory: Path, results: Mapping[str, Result], missing: Mapping[str, str]) -> None:
    """The document and its plots."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "README.md").write_text(document(results, missing))
    for name, result in results.items():
        (directory / f"{name}.svg").write_text(plot(result))
    for prefix in CURVES:
        if curve_names(results, prefix):
            (directory / f"{prefix}.svg").write_text(curve(results, prefix))
