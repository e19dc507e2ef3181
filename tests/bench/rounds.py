"""Has each server of a scenario take its turn, round after round."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import BadResponse
from reliability.fault import Overdue, limit

from . import bare, ranking, results, wrk
from .certificates import certify
from .checks import Wrong
from .cores import share
from .running import Ended
from .scenario import METRICS, Scenario
from .scenarios import write_files
from .servers import Adapter, Lacking, Place
from .statistics import summary
from .trial import Trial

LONGEST = 150.0
"""Seconds beyond its loads after which a trial is given up."""


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    place: Place
    rounds: int
    seconds: float
    tool: str = "wrk"


class Workshop:
    """A directory for the files and certificates of a run, and one for each trial."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = directory / "files"
        self.files.mkdir()
        write_files(self.files)
        self.certificates = directory / "certificates"
        self.certificates.mkdir()
        certify(self.certificates)

    @contextmanager
    def trial(self) -> Iterator[Path]:
        """A directory that is gone afterwards."""
        made = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def measure(
    scenario: Scenario,
    adapters: Sequence[Adapter],
    plan: Plan,
    workshop: Workshop,
    keep: Callable[[results.Result], None] = lambda result: None,
) -> results.Result:
    """All rounds of a scenario; `keep` is given what there is after each."""
    tool = f"wrk {wrk.version()}" if plan.tool == "wrk" else plan.tool
    cores = share(1_000_000 if scenario.shared else scenario.wanted.workers)
    result = results.begin(scenario, plan.rounds, plan.seconds, tool, cores)
    for adapter in adapters:
        results.server(result, adapter)
    for number in range(plan.rounds):
        # Another one goes first each time, so that none is always behind the same one.
        turn = number % len(adapters)
        for adapter in (*adapters[turn:], *adapters[:turn]):
            one(scenario, adapter, plan, workshop, result)
        if "cpu" in scenario.metrics and scenario.name != "mixed":
            spent = bare.microseconds(scenario, plan.place, workshop.files, min(0.3, plan.seconds))
            if spent is not None:
                result["bare_us"].append(round(spent, 4))
        result["ratios"] = ranking.ratios(result)
        keep(result)
    return result


def one(
    scenario: Scenario, adapter: Adapter, plan: Plan, workshop: Workshop, result: results.Result
) -> None:
    """A server's turn; who can't do it, or answers wrongly, has no further one."""
    entry = results.server(result, adapter)
    if "lacking" in entry or "wrong" in entry:
        return
    with workshop.trial() as directory:
        trial = Trial(
            adapter,
            scenario,
            directory,
            workshop.files,
            workshop.certificates,
            plan.seconds,
            plan.tool,
        )
        try:
            with limit(LONGEST + 3 * plan.seconds):
                figures = scenario.measure(trial)
            wanted = [name for name in scenario.metrics if name in figures]
            results.note(entry, {name: figures[name] for name in wanted})
        except Lacking as lacking:
            entry["lacking"] = str(lacking)
        except Ended as ended:
            entry["wrong"] = f"did not start: {ended}"
        except Overdue:
            entry["wrong"] = "not over in time"
        except (Wrong, wrk.Failed, BadResponse, OSError) as wrong:
            entry["wrong"] = str(wrong) or type(wrong).__name__
        entry["notes"] = [*dict.fromkeys([*entry["notes"], *trial.notes])]
        if "lacking" not in entry:
            kept = {"DIR": directory, "FILES": workshop.files, "TLS": workshop.certificates}
            command = adapter.command(trial.wanted, 10_000, directory)
            entry["command"] = results.general(command, plan.place, kept)
    results.say(f"{scenario.name}: {adapter.title}: {told(entry, scenario)}")


def told(entry: results.Server, scenario: Scenario) -> str:
    """A line for whom watches."""
    for reason in ("wrong", "lacking"):
        if reason in entry:
            return f"{reason}: {entry[reason]}"
    parts = [
        f"{METRICS[name].title} {METRICS[name].told(summary(entry['figures'][name]).median)}"
        for name in scenario.metrics
        if entry["figures"].get(name)
    ]
    return "; ".join([*parts, *entry["notes"]])
