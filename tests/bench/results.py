"""The raw figures: a JSON file a scenario, with all that is needed to repeat or doubt them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cores import Cores
from .scenario import Figures, Scenario
from .servers import ROOT, Adapter, Place

Server = dict[str, Any]
Result = dict[str, Any]


def machine() -> dict[str, object]:
    """What it was measured on, and how busy that was before."""
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "siblings": siblings(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": distribution(),
        "python": platform.python_version(),
        "revision": revision(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def revision() -> str:
    """The commit that is measured; with "+" if the code differs from it."""
    head = git("rev-parse", "--short", "HEAD")
    if head.returncode != 0:
        return "unknown"
    differs = git("diff", "--quiet", "HEAD", "--", "Cargo.lock", "Cargo.toml", "crates")
    return head.stdout.strip() + ("+" if differs.returncode else "")


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def cpu_model() -> str:
    """As the kernel calls it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    found = re.search(r"^(?:model name|Hardware|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def siblings() -> list[str]:
    """Which of the cores are threads of one: they take from each other what pinning can't part."""
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    return sorted({file.read_text().strip() for file in files})


def distribution() -> str:
    """As it calls itself."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def begin(scenario: Scenario, rounds: int, seconds: float, tool: str, cores: Cores) -> Result:
    """A scenario without figures yet."""
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "about": scenario.about,
        "main": scenario.main,
        "metrics": list(scenario.metrics),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "client": f"{tool}, {scenario.connections} connections",
        "workers": scenario.wanted.workers,
        "threads": scenario.wanted.threads,
        "cores": cores.told(),
        "servers": {},
        "bare_us": [],
    }


def server(result: Result, adapter: Adapter) -> Server:
    """The entry of a server."""
    entry: Server = result["servers"].setdefault(
        adapter.name,
        {
            "title": adapter.title,
            "version": adapter.version(),
            "floor": adapter.is_floor,
            "figures": {},
            "notes": [],
        },
    )
    return entry


def note(entry: Server, figures: Figures) -> None:
    """Adds a round."""
    for name, value in figures.items():
        entry["figures"].setdefault(name, []).append(round(value, 4))


def general(command: Sequence[str], place: Place, directories: dict[str, Path]) -> str:
    """A command line without what is only so on this machine."""
    text = " ".join(command)
    own = {"BIN": place.bin, "ENV": place.bin.parent, **directories, "CLONE": ROOT}
    for name, directory in own.items():
        text = text.replace(str(directory), name)
    return re.sub(r"(127\.0\.0\.1:|--port=|:app |\w )\d{5}\b", r"\1PORT", text)


def write(directory: Path, result: Result) -> None:
    """Replaces the scenario's file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{result['scenario']}.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    new.rename(file)


def read(directory: Path) -> dict[str, Result]:
    """Every scenario that was measured, by name."""
    found = {}
    for file in sorted(directory.glob("*.json")):
        result = json.loads(file.read_text())
        if isinstance(result, dict) and "scenario" in result:
            found[str(result["scenario"])] = result
    return found


def say(text: str) -> None:
    """To whom watches."""
    print(text, file=sys.stderr, flush=True)
