"""What is written: the raw facts as JSON, and the table in the document."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from .catalogue import FAULTS
from .fault import Facts, Fault
from .servers import Adapter

BEGIN = "<!-- table: written by scripts/reliability -->"
SLOW_BEGIN = "<!-- table: written by scripts/reliability slow -->"
END = "<!-- end of the table -->"


class Results:
    """The facts of all servers, of earlier runs too."""

    def __init__(
        self,
        directory: Path,
        raw: str = "reliability.json",
        faults: Sequence[Fault] = FAULTS,
        begin: str = BEGIN,
    ) -> None:
        self.raw, self.document = directory / raw, directory / "reliability.md"
        self.faults, self.begin = faults, begin
        known = json.loads(self.raw.read_text()) if self.raw.exists() else {}
        self.servers: dict[str, dict[str, object]] = known.get("servers", {})
        self.machine = {
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
            "python": platform.python_version(),
        }

    def note(self, adapter: Adapter, fault: str, facts: Facts) -> None:
        """Keeps what one server did under one fault."""
        server = self.servers.setdefault(adapter.title, {})
        server["version"] = adapter.version()
        server["measured"] = time.strftime("%Y-%m-%d")
        faults = server.setdefault("faults", {})
        assert isinstance(faults, dict)
        faults[fault] = dict(facts)

    def write(self, titles: list[str]) -> None:
        """Writes both files; the servers in this order."""
        ordered = {title: self.servers[title] for title in titles if title in self.servers}
        text = json.dumps({"machine": self.machine, "servers": ordered}, indent=1)
        self.raw.write_text(text + "\n")
        old = self.document.read_text()
        head, _, rest = old.partition(self.begin)
        _, _, tail = rest.partition(END)
        text = table(ordered, self.faults)
        self.document.write_text(f"{head}{self.begin}\n\n{text}\n{END}{tail}")

    def shown(self) -> str:
        """The table that the document has."""
        return self.document.read_text().partition(self.begin)[2].partition(END)[0].strip()


def table(servers: dict[str, dict[str, object]], kinds: Sequence[Fault] = FAULTS) -> str:
    """A row a fault, a column a server."""
    heads = [f"{title} {server['version']}" for title, server in servers.items()]
    rows = [["Fault", *heads], ["---"] * (len(heads) + 1)]
    for fault in kinds:
        cells = []
        for server in servers.values():
            faults = server["faults"]
            assert isinstance(faults, dict)
            facts = faults.get(fault.name)
            cells.append(fault.tell(facts) if facts is not None else "not run")
        rows.append([fault.title, *cells])
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)
