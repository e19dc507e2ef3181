"""One server in one scenario, once: what a measurement is given to work with."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from . import client, wrk
from .asking import Asking
from .checks import CLOSES, Checked, Wrong, checked
from .cores import Cores, kept_to, share
from .measuring import cpu_seconds
from .running import Running
from .scenario import Figures, Scenario
from .servers import Adapter, Wanted

WARMING = 0.3
FEW_ERRORS = 0.01
"""The share of requests that may fail in a load that counts; it is told."""


@dataclass
class Trial:
    """Starts the server as the scenario wants it, and puts load on it."""

    adapter: Adapter
    scenario: Scenario
    directory: Path
    """Of this trial alone."""
    files: Path
    certificates: Path
    seconds: float
    tool: str = "wrk"
    """Or "python": the client of the tests."""

    def __post_init__(self) -> None:
        self.notes: list[str] = []

    @cached_property
    def wanted(self) -> Wanted:
        """As the scenario wants it, with the directories of this run."""
        tls = self.certificates if "tls" in self.scenario.wanted.needs else None
        return replace(self.scenario.wanted, files=self.files, tls=tls)

    @cached_property
    def cores(self) -> Cores:
        """Whose cores are whose."""
        return share(1_000_000 if self.scenario.shared else self.wanted.workers)

    @cached_property
    def trust(self) -> ssl.SSLContext | None:
        """What clients trust where TLS is spoken."""
        if self.wanted.tls is None:
            return None
        return ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))

    def asked(self, running: Running) -> Checked:
        """The server, to be checked."""
        return Checked(running.address, self.scenario, self.trust, self.adapter.is_floor)

    @contextmanager
    def start(self) -> Iterator[Running]:
        """A server that answers; raises Lacking, Ended."""
        self.adapter.check(self.wanted)
        with (
            kept_to(self.cores.client),
            Running(self.adapter, self.wanted, self.directory, self.cores) as running,
        ):
            asked = self.asked(running)
            try:
                running.wait(asked.is_there)
            except Exception:
                # What it answers says more than that it isn't there.
                if running.process.poll() is None:
                    checked(asked)
                raise
            yield running

    def check(self, running: Running) -> None:
        """Raises Wrong unless the answers are right; keeps notes."""
        self.notes += [note for note in checked(self.asked(running)) if note not in self.notes]

    def warm(self, running: Running) -> None:
        """A little load, so that caches are filled and lazy things done."""
        if self.trust is not None:
            for _ in range(100):
                self.asked(running).is_right()
            return
        connections = min(16, self.scenario.connections)
        client.drive(
            running.address, self.scenario.asking.raw(), connections, min(WARMING, self.seconds)
        )

    def load(
        self, running: Running, seconds: float | None = None, asking: Asking | None = None
    ) -> Figures:
        """The scenario's load, with the CPU that a request took; raises Wrong if many fail."""
        return self.loaded(
            running,
            wrk.Load(
                running.address,
                asking or self.scenario.asking,
                self.scenario.connections,
                seconds or self.seconds,
                self.scenario.pipelined,
                tls=self.wanted.tls is not None,
            ),
        )

    def loaded(self, running: Running, load: wrk.Load) -> Figures:
        """Any load."""
        before = cpu_seconds(running.pid)
        figures = self.wrk(load) if self.tool == "wrk" else self.python(load)
        spent = cpu_seconds(running.pid) - before
        requests, errors = figures.pop("requests"), figures.pop("errors")
        ends = figures.pop("ends", 0)
        if not (load.asking.closes or CLOSES in self.notes) or ends > requests + load.connections:
            errors += ends
        if figures.pop("not_ok", 0):
            raise Wrong("answers under load that were not 200")
        if errors > FEW_ERRORS * (requests + errors) or not requests:
            raise Wrong(f"{errors:.0f} of {requests + errors:.0f} requests failed under load")
        if errors:
            self.notes.append("some requests failed under load")
        figures.pop("seconds", None)
        return figures | {"cpu": spent / requests * 1e6}

    def wrk(self, load: wrk.Load) -> Figures:
        """By wrk."""
        return wrk.run(load, self.cores, self.directory)

    def python(self, load: wrk.Load) -> Figures:
        """By the client in Python, which knows neither TLS nor pipelining."""
        measured = client.drive(
            load.address, load.asking.raw(), min(load.connections, 16), load.seconds
        )
        return measured.figures() | {"requests": measured.requests, "errors": measured.errors}
