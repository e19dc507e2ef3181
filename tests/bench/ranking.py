"""What follows from the raw figures of a scenario: medians, the best peer, ratios."""

from __future__ import annotations

from typing import Any

from .results import Result
from .scenario import METRICS
from .statistics import Interval, Summary, paired, summary, verdict

OURS = "ironhorn"
BEFORE = "ironhorn-before"


def summaries(result: Result, metric: str) -> dict[str, Summary]:
    """Of each server that has the figure, right or wrong."""
    return {
        name: summary(entry["figures"][metric])
        for name, entry in result["servers"].items()
        if entry["figures"].get(metric)
    }


def is_ranked(entry: dict[str, Any]) -> bool:
    """A server whose answers were right."""
    return bool(entry["figures"]) and "wrong" not in entry and not entry["floor"]


def best_peer(result: Result, metric: str) -> str | None:
    """The peer that is best in this figure, of those whose answers were right."""
    found = summaries(result, metric)
    peers = [
        name for name in found if name not in (OURS, BEFORE) and is_ranked(result["servers"][name])
    ]
    sign = 1 if METRICS[metric].lower_is_better else -1
    return min(peers, key=lambda name: sign * found[name].median, default=None)


def floor(result: Result, metric: str) -> str | None:
    """nginx, where it answered."""
    found = summaries(result, metric)
    return next((name for name in found if result["servers"][name]["floor"]), None)


def ratio(result: Result, metric: str, name: str, to: str | None) -> float | None:
    """Of medians."""
    found = summaries(result, metric)
    if to is None or name not in found or not found[to].median:
        return None
    return found[name].median / found[to].median


def to_bare(result: Result, name: str) -> float | None:
    """CPU a request against the loop that only builds the environ and calls the app."""
    found, bare = summaries(result, "cpu"), result["bare_us"]
    return found[name].median / summary(bare).median if bare and name in found else None


def ratios(result: Result) -> dict[str, dict[str, dict[str, float | None]]]:
    """Of each server and figure to the best peer, to nginx, and of CPU to the bare loop."""
    table: dict[str, dict[str, dict[str, float | None]]] = {}
    for metric in result["metrics"]:
        peer, mark = best_peer(result, metric), floor(result, metric)
        for name in summaries(result, metric):
            row = {
                "best_peer": ratio(result, metric, name, peer),
                "nginx": ratio(result, metric, name, mark),
            }
            if metric == "cpu":
                row["bare"] = to_bare(result, name)
            table.setdefault(name, {})[metric] = {
                key: None if value is None else round(value, 3) for key, value in row.items()
            }
    return table


def finalists(result: Result) -> tuple[str, str] | None:
    """Ironhorn and the best peer in the main figure, if both answered correctly."""
    metric = result["main"]
    peer = best_peer(result, metric)
    ours = result["servers"].get(OURS)
    return (OURS, peer) if peer and ours and is_ranked(ours) else None


def final(result: Result) -> Result:
    """The rounds of Ironhorn and the best peer alone; those of all if there are none."""
    last = result.get("final")
    return last if last and finalists(last) else result


def against(result: Result, metric: str, other: str) -> tuple[Interval, str] | None:
    """Ironhorn to another server, round by round, and what may be said of it."""
    servers = result["servers"]
    ours = servers.get(OURS, {}).get("figures", {}).get(metric)
    theirs = servers.get(other, {}).get("figures", {}).get(metric)
    if not ours or not theirs or not any(theirs):
        return None
    found = paired(ours, theirs)
    return found, verdict(found, METRICS[metric].lower_is_better)
