"""Runs the soak, prints the figures and writes docs/soak.json; exits 1 if an invariant broke."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

from harness.process import become_subreaper

from .storm import Result, soak

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """See scripts/soak."""
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("minutes", nargs="?", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-requests", type=int, default=500, help="0 for off")
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()
    become_subreaper()
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    result = soak(
        Path(sys.executable).parent,
        directory,
        options.minutes * 60,
        options.seed,
        options.max_requests,
    )
    tell(result)
    if not options.print:
        text = json.dumps({"python": platform.python_version(), **result.as_json()}, indent=1)
        (DOCS / "soak.json").write_text(text + "\n")
    if result.broken:
        print(f"the log is in {directory}")
    return 1 if result.broken else 0


def tell(result: Result) -> None:
    """The figures for people."""
    print(
        f"{result.requests} requests in {result.seconds:.0f} s, seed {result.seed}: {result.done}"
    )
    print(f"log: {result.log}")
    print(f"failed, explained by a KILL: {result.excused}")
    print(f"failed, others: {len(result.failed)}")
    for what in result.failed[:20]:
        print(f"  {what}")
    print(
        f"latency: median {result.median_latency * 1e3:.1f} ms, 99 % "
        f"{result.p99_latency * 1e3:.1f} ms, worst {result.worst_latency * 1e3:.0f} ms"
    )
    for name, sample in (("before", result.before), ("after", result.after)):
        if sample is not None:
            print(
                f"{name}, calm: {sample.memory / 1e6:.1f} MB in {sample.processes} processes, "
                f"master {sample.master_memory / 1e6:.2f} MB, {sample.descriptors} descriptors, "
                f"{sample.shared_mappings} shared mappings"
            )
    for name, quarter in (("first", result.first_quarter), ("last", result.last_quarter)):
        print(
            f"{name} quarter: {quarter['memory'] / 1e6:.1f} MB in {quarter['processes']:.0f} "
            f"processes, {quarter['memory_each'] / 1e6:.2f} MB each, master "
            f"{quarter['master_memory'] / 1e6:.2f} MB and {quarter['descriptors']:.0f} to "
            f"{quarter['descriptors_highest']:.0f} descriptors"
        )
    print(f"broken: {result.broken or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
