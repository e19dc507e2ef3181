"""Runs the faults and writes docs/reliability.md and .json; see scripts/reliability."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness.process import become_subreaper

from .catalogue import FAULTS
from .servers import ADAPTERS
from .table import Results

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """Each chosen fault on each chosen server."""
    names = [fault.name for fault in FAULTS]
    titles = [adapter.title for adapter in ADAPTERS]
    parser = argparse.ArgumentParser(prog="scripts/reliability")
    parser.add_argument("--peers", type=Path, help="directory of the other servers' commands")
    parser.add_argument("--server", action="append", choices=titles, help="only this one")
    parser.add_argument("--fault", action="append", choices=names, help="only this one")
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()

    become_subreaper()
    results = Results(DOCS)
    own = Path(sys.executable).parent
    for kind in ADAPTERS:
        adapter = kind(own if kind.name == "ironhorn" else options.peers or own)
        if adapter.title not in (options.server or titles):
            continue
        if not adapter.installed:
            print(f"{adapter.title}: not installed", flush=True)
            continue
        begun = time.monotonic()
        for fault in FAULTS:
            if fault.name not in (options.fault or names):
                continue
            directory = Path(tempfile.mkdtemp(prefix="reliability-"))
            started = time.monotonic()
            try:
                facts = fault.run(adapter, directory)
            finally:
                shutil.rmtree(directory)
            took = time.monotonic() - started
            print(f"{adapter.title}, {fault.name} ({took:.0f} s): {fault.tell(facts)}", flush=True)
            results.note(adapter, fault.name, facts)
            if not options.print:
                results.write(titles)
        print(f"{adapter.title}: {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
