"""What a fault is: a function with a name in the table, and how its facts read there."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .running import Ended
from .servers import Adapter, Lacking

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Fault:
    """One fault: a function that makes it and gives the facts."""

    name: str
    title: str
    telling: str
    bound: float
    make: Callable[[Adapter, Path], Facts]

    def run(self, adapter: Adapter, directory: Path) -> Facts:
        """Makes it, within its bound; what a server lacks is a fact too."""
        try:
            with limit(self.bound):
                return self.make(adapter, directory)
        except Lacking as lacking:
            return {"lacking": str(lacking)}
        except Ended as ended:
            return {"not_started": str(ended)}
        except Overdue:
            return {"overdue": self.bound}

    def tell(self, facts: Facts) -> str:
        """The facts in a cell of the table."""
        if "lacking" in facts:
            return f"not measured: {facts['lacking']}"
        if "not_started" in facts:
            return f"did not start: {facts['not_started']}"
        if "overdue" in facts:
            return f"not over after {facts['overdue']} s"
        return self.telling.format_map(Told(facts))


class Told(dict):
    """Facts as text: what did not come has a word of its own."""

    def __init__(self, facts: Facts) -> None:
        super().__init__({name: told(value) for name, value in facts.items()})


def told(value: object) -> str:
    """One fact."""
    if value is None:
        return "never"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


def fault(
    title: str, telling: str, bound: float = 60
) -> Callable[[Callable[[Adapter, Path], Facts]], Fault]:
    """Makes the function below a fault."""
    return lambda make: Fault(make.__name__, title, telling, bound, make)


class Overdue(Exception):
    """The fault took longer than its bound."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises Overdue in the block when the time is over."""

    def ring(*_: object) -> None:
        raise Overdue

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
