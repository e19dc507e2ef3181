"""Makes the faults, or has slow clients held, and writes the tables of docs/reliability.md and
their figures; see scripts/reliability.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from harness.process import become_subreaper

from .catalogue import FAULTS
from .idle import IDLE
from .servers import ADAPTERS
from .slow import SLOW, THREADS
from .table import SLOW_BEGIN, Results

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """Each chosen fault on each chosen server."""
    slow = "slow" in sys.argv[1:]
    faults = [*SLOW, IDLE] if slow else FAULTS
    kinds = tuple(THREADS) if slow else ADAPTERS
    names = [fault.name for fault in faults]
    titles = [adapter.title for adapter in kinds]
    parser = argparse.ArgumentParser(prog="scripts/reliability")
    parser.add_argument("part", nargs="?", choices=["slow"], help="slow clients instead of faults")
    parser.add_argument("--peers", type=Path, help="directory of the other servers' commands")
    parser.add_argument("--server", action="append", choices=titles, help="only this one")
    parser.add_argument("--fault", action="append", choices=names, help="only this one")
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()

    become_subreaper()
    # Whoever ends this ends what it has started.
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda nr, _: sys.exit(128 + nr))
    # Thousands of connections, here and in the servers that inherit it.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = Results(DOCS, "slow-clients.json", faults, SLOW_BEGIN) if slow else Results(DOCS)
    own = Path(sys.executable).parent
    for kind in kinds:
        adapter = kind(own if kind.name == "ironhorn" else options.peers or own)
        if adapter.title not in (options.server or titles):
            continue
        if not adapter.installed:
            print(f"{adapter.title}: not installed", flush=True)
            continue
        begun = time.monotonic()
        for fault in faults:
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
