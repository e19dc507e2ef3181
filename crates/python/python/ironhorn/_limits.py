"""The time that code of the operator's has in the master: configuration files and hooks.

The master has one thread, and does nothing for its workers while such code runs. So what takes too
long is ended by an exception, sooner if the server is to stop meanwhile. C code that does not
return can't be ended so; a signal that is sent again ends the server then.
"""

from __future__ import annotations

import time

# Every master and worker has this module: it is not to bring `enum`, `re` and `typing` into the
# memory of those whose app needs none of them.
TYPE_CHECKING = False
if not TYPE_CHECKING:
    import _signal as signal
else:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, ParamSpec, Protocol, TypeVar

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

    class _Guard(Protocol):
        """What knows of the signals that the master was sent."""

        def begin(self) -> None:
            """Code begins that may never return."""

        def end(self) -> None:
            """It has returned."""

        def is_asked(self) -> bool:
            """Whether the server is to stop."""


#: Seconds that a call has.
LIMIT = 10.0

#: Seconds that it has even if the server is to stop.
GRACE = 1.0

_STEP = 0.1


class Overdue(BaseException):
    """It takes too long."""


#: None where nobody waits for the master: it has not started yet.
_guard: _Guard | None = None


def watch(guard: _Guard) -> None:
    """From now on there are limits."""
    global _guard
    _guard = guard


def limited(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls `function`, which is ended by :class:`Overdue` if it takes too long."""
    if _guard is None:
        return function(*args, **kwargs)
    call = _Call(_guard)
    try:
        return call.run(function, *args, **kwargs)
    finally:
        # Once more: the exception may have come in between.
        call.end()


class _Call:
    def __init__(self, guard: _Guard) -> None:
        self._guard = guard
        self._began = time.monotonic()
        self._quiet_until = 0.0
        self._runs = False
        self._before: Any = signal.SIG_DFL

    def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        self._before = signal.signal(signal.SIGALRM, self._tick)
        self._guard.begin()
        signal.setitimer(signal.ITIMER_REAL, GRACE, _STEP)
        try:
            self._runs = True
            return function(*args, **kwargs)
        finally:
            self.end()

    def end(self) -> None:
        self._runs = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._guard.end()
        signal.signal(signal.SIGALRM, self._before or signal.SIG_DFL)

    def _tick(self, _signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._runs or now < self._quiet_until:
            return
        if now - self._began >= LIMIT:
            why = f"it did not end within {LIMIT:g} s"
        elif self._guard.is_asked():
            why = "it did not end, and the server is to stop"
        else:
            return
        # Code that catches this is told again; what ends it is not disturbed.
        self._quiet_until = now + GRACE
        raise Overdue(why)
