"""Measures the chosen scenarios and servers, and writes docs/benchmarks; see scripts/bench."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from harness.process import become_subreaper

from . import peers, ranking, report, results
from .rounds import Plan, Workshop, measure
from .scenario import METRICS, Scenario
from .scenarios import all_scenarios
from .servers import ADAPTERS, ROOT, Adapter, Ironhorn, IronhornBefore, Place

DOCS = ROOT / "docs" / "benchmarks"


def main() -> int:
    """Each chosen scenario on each chosen server."""
    options = parse()
    if options.list:
        print(listed())
        return 0
    signal.signal(signal.SIGTERM, leave)
    become_subreaper()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.report:
        publish(options.docs)
        return 0
    place = Place(options.bin)
    adapters = chosen_adapters(options, place)
    plan = Plan(place, options.rounds, options.seconds)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        os.chmod(name, 0o755)
        workshop = Workshop(Path(name))
        for scenario in chosen_scenarios(options):
            run(scenario, adapters, plan, workshop, options)
    results.say(f"took {time.monotonic() - begun:.0f} s")
    return 0


def run(
    scenario: Scenario,
    adapters: list[Adapter],
    plan: Plan,
    workshop: Workshop,
    options: argparse.Namespace,
) -> None:
    """A scenario, and its part of the report."""
    begun = time.monotonic()
    if options.against or options.print:
        result = measure(scenario, adapters, plan, workshop)
        print(f"\n## {scenario.title}\n\n{report.scenario_table(result)}", flush=True)
    else:
        result = kept(scenario, adapters, plan, workshop, options)
        play_final(scenario, result, adapters, replace(plan, rounds=options.final), workshop)
        results.write(options.docs, result)
        publish(options.docs)
    if options.against:
        for metric in scenario.metrics:
            print(compared(result, metric), flush=True)
    results.say(f"{scenario.name}: {time.monotonic() - begun:.0f} s")


def kept(
    scenario: Scenario,
    adapters: list[Adapter],
    plan: Plan,
    workshop: Workshop,
    options: argparse.Namespace,
) -> results.Result:
    """The rounds of all, which are in their file as they come, or were there before."""
    if not options.only_final:
        return measure(scenario, adapters, plan, workshop, lambda r: results.write(options.docs, r))
    return results.read(options.docs)[scenario.name]


def play_final(
    scenario: Scenario,
    result: results.Result,
    adapters: list[Adapter],
    plan: Plan,
    workshop: Workshop,
) -> None:
    """Adds to the result what Ironhorn and the best peer do alone: enough rounds to tell who is
    ahead, which all servers together would take hours for.
    """
    names = ranking.finalists(result) or ()
    pair = [adapter for adapter in adapters if adapter.name in names]
    if not plan.rounds:
        return
    if len(pair) == 2:
        result["final"] = measure(scenario, pair, plan, workshop)
    else:
        results.say(f"{scenario.name}: no final, as it needs {' and '.join(names) or 'a peer'}")


def compared(result: results.Result, metric: str) -> str:
    """One figure of two builds."""
    found = ranking.against(result, metric, ranking.BEFORE)
    if found is None:
        return f"{METRICS[metric].title}: not measured"
    ratio, word = found
    words = {"ahead": "better", "behind": "worse", "level": "no difference shown"}
    told = words.get(word.rstrip("?"), word)
    end = "" if ratio.sure else " (range of all rounds: six are needed for 95 %)"
    return (
        f"{METRICS[metric].title}: {ratio.median:.3f} of the other build, "
        f"{ratio.low:.3f} to {ratio.high:.3f}{end}: {told}"
    )


def publish(docs: Path) -> None:
    """The report of all that is there."""
    found = results.read(docs)
    names = [scenario.name for scenario in all_scenarios()]
    ordered = {name: found[name] for name in names if name in found}
    ordered |= {name: result for name, result in found.items() if name not in ordered}
    report.write(docs, ordered, peers.missing())


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """In the order of the report."""
    every = all_scenarios()
    return [each for each in every if not options.scenario or each.name in options.scenario]


def chosen_adapters(options: argparse.Namespace, place: Place) -> list[Adapter]:
    """The installed ones of those that were asked for."""
    if options.against:
        pair: list[Adapter] = [
            Ironhorn(place),
            IronhornBefore(Place(place.bin, package_in(options.against))),
        ]
        for adapter in pair:
            if not adapter.is_installed():
                sys.exit(f"error: no build of Ironhorn in {adapter.place.ironhorn}")
        return pair
    found = []
    for kind in ADAPTERS:
        adapter = kind(place)
        if options.server and adapter.name not in options.server:
            continue
        if adapter.is_installed():
            found.append(adapter)
        else:
            results.say(f"{adapter.title}: not installed")
    if not found:
        sys.exit("error: none of the servers is installed")
    return found


def package_in(directory: Path) -> Path:
    """A clone in which Ironhorn was built, or a directory that has its package in it."""
    inside = directory / "crates" / "python" / "python"
    return (inside if inside.is_dir() else directory).resolve()


def parse() -> argparse.Namespace:
    """The command line."""
    scenarios = [scenario.name for scenario in all_scenarios()]
    servers = [kind(Place(Path())).name for kind in ADAPTERS]
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--scenario", nargs="+", choices=scenarios, metavar="NAME")
    parser.add_argument("--server", nargs="+", choices=servers, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="of each scenario: 5")
    parser.add_argument(
        "--final", type=int, default=7, help="rounds of Ironhorn and the best peer alone: 7"
    )
    parser.add_argument("--only-final", action="store_true", help="the rounds of all stay")
    parser.add_argument("--seconds", type=float, default=2, help="of each load, whole ones: 2")
    parser.add_argument("--print", action="store_true", help="write no file")
    parser.add_argument("--list", action="store_true", help="scenarios and servers")
    parser.add_argument("--report", action="store_true", help="write the report anew, measure not")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIRECTORY",
        help="compare with another build of Ironhorn: a clone, or a copy of crates/python/python",
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help=argparse.SUPPRESS)
    parser.add_argument("--bin", type=Path, default=peers.ENVIRONMENT / "bin")
    options = parser.parse_args()
    if options.only_final:
        if options.against or options.print:
            parser.error("--only-final adds to a report: not with --against or --print")
        there = results.read(options.docs)
        missing = [each for each in options.scenario or scenarios if each not in there]
        if missing:
            parser.error(f"not measured with all servers yet: {', '.join(missing)}")
    return options


def listed() -> str:
    """What can be chosen."""
    scenarios = [f"  {each.name:22} {each.title}" for each in all_scenarios()]
    adapters = [kind(Place(Path())) for kind in ADAPTERS]
    servers = [f"  {each.name:22} {each.title}" for each in adapters]
    return "\n".join(["scenarios:", *scenarios, "servers:", *servers])


def leave(*_: object) -> NoReturn:
    """A signal to end unwinds, so that no server is left."""
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
