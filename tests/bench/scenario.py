"""What a scenario is, and what is measured in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .asking import Asking, Right
from .checks import Check
from .servers import Wanted

if TYPE_CHECKING:
    from .trial import Trial

Figures = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """A figure: how it is called and written, and which way is better."""

    title: str
    form: str = "{:,.1f}"
    lower_is_better: bool = True

    def told(self, value: float) -> str:
        """In a table."""
        return self.form.format(value)


METRICS = {
    "rps": Metric("Requests/s", "{:,.0f}", lower_is_better=False),
    "p50": Metric("p50, ms", "{:,.2f}"),
    "p99": Metric("p99, ms", "{:,.2f}"),
    "p999": Metric("p99.9, ms", "{:,.2f}"),
    "cpu": Metric("CPU, µs a request"),
    "pss": Metric("PSS, MiB"),
    "kib": Metric("KiB a connection", "{:,.2f}"),
    "kept": Metric("Throughput kept, %", "{:,.0f}", lower_is_better=False),
    "waited": Metric("Waited over 20 ms, %", "{:,.2f}"),
    "start": Metric("First answer, ms", "{:,.0f}"),
    "start_cpu": Metric("CPU until then, ms", "{:,.0f}"),
    "busiest": Metric("Busiest worker at full load", "{:,.2f}"),
    "busiest_low": Metric("at a low load", "{:,.2f}"),
    "idle": Metric("PSS idle, MiB"),
    "loaded": Metric("PSS after load, MiB"),
}
WANTED = Wanted()
ASKING = Asking()
STEADY = ("rps", "p50", "p99", "p999", "cpu", "pss")


@dataclass(frozen=True)
class Scenario:
    """One thing that is asked of every server."""

    name: str
    title: str
    about: str
    measure: Callable[[Trial], Figures]
    right: Right
    wanted: Wanted = WANTED
    asking: Asking = ASKING
    checks: tuple[Check, ...] = ()
    connections: int = 32
    pipelined: int = 1
    metrics: tuple[str, ...] = STEADY
    main: str = "cpu"
    """The figure by which servers are ranked."""
    shared: bool = False
    """Server and client on all cores, as several workers want them."""
