"""Processes as a test sees them: the tree through /proc, log pipes, gates (FIFOs) and the one
polling loop.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SCALE = float(os.environ.get("IRONHORN_TEST_SCALE", "1"))
DEADLINE = 10.0
PR_SET_CHILD_SUBREAPER = 36


def scaled(seconds: float) -> float:
    """A deadline for this machine. Upper bounds are scaled; a lower bound (a thing must take this
    long) never is.
    """
    return seconds * SCALE


def wait_until(predicate: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """Polls until the predicate holds and returns its value; the only polling loop of the suite."""
    end = time.monotonic() + scaled(deadline)
    pause = 0.002
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {scaled(deadline):.1f} s: {what or predicate}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def time_until(predicate: Callable[[], object], deadline: float) -> float | None:
    """Seconds until the predicate held, None when it did not in time: for what is measured, not
    asserted.
    """
    started = time.monotonic()
    try:
        wait_until(predicate, deadline)
    except AssertionError:
        return None
    return time.monotonic() - started


def holds_for(predicate: Callable[[], object], seconds: float, what: str = "") -> None:
    """Asserts that something stays true over a bounded window (for claims that something does not
    happen).
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert predicate(), f"did not hold for {seconds} s: {what or predicate}"
        time.sleep(0.02)


def become_subreaper() -> None:
    """Orphans of a server become children of pytest, where the teardown finds them
    (PR_SET_CHILD_SUBREAPER).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process, by /proc/PID/stat (the name may hold spaces and
    brackets).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1])


def _processes() -> dict[int, tuple[str, int]]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {pid: stat for pid in pids if (stat := _stat(pid)) is not None}


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def children_of(pid: int) -> list[int]:
    """The live children, oldest first as far as pids tell."""
    return sorted(
        child
        for child, (state, parent) in _processes().items()
        if parent == pid and state not in "ZX"
    )


def descendants(pid: int) -> list[int]:
    """The whole live tree below a process."""
    table = _processes()
    found: list[int] = []
    frontier = [pid]
    while frontier:
        parent = frontier.pop()
        below = [child for child, (_, its_parent) in table.items() if its_parent == parent]
        frontier.extend(below)
        found.extend(child for child in below if table[child][0] not in "ZX")
    return sorted(found)


def title_of(pid: int) -> str:
    """What ps(1) shows of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def session_of(pid: int) -> int:
    """The session of a process, 0 when it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def state_of(pid: int) -> str:
    """The state letter of a process ("T" is stopped), empty when it is gone."""
    stat = _stat(pid)
    return stat[0] if stat else ""


def reap_orphans(known: set[int]) -> None:
    """Waits for zombies that became pytest's; `known` are waited for by their own Popen."""
    me = os.getpid()
    for pid, (state, parent) in _processes().items():
        ours = parent == me and pid not in known and session_of(pid) != os.getsid(0)
        if ours and state == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def kill_tree(pids: list[int]) -> None:
    """Last resort of a teardown, by pid, for processes of ours only."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_readable(fd: int, seconds: float | None) -> bool:
    """Waits until a read would not block, for ever without `seconds`; poll(2), as descriptors may
    be beyond what select(2) can name.
    """
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if seconds is None else seconds * 1000))


class Log:
    """One output stream of a server, read by a thread into lines so that the server never blocks on
    a full pipe. Whoever asks reads on first, so that what was written before is always seen.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._lines: list[str] = []
        self._rest = b""
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._follow, name=f"log-{name}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ended:
            is_readable(self._fd, None)
            with self._changed:
                self._read_on()
        os.close(self._fd)

    def _read_on(self) -> None:
        """Takes what the pipe holds now; the lock is the caller's."""
        while not self._ended and is_readable(self._fd, 0):
            data = os.read(self._fd, 65536)
            self._ended = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            if self._ended and self._rest:
                lines.append(self._rest)
            self._lines.extend(line.decode("utf-8", "backslashreplace") for line in lines)
            self._changed.notify_all()

    def lines(self, since: int = 0) -> list[str]:
        """The lines so far, from the position `since`."""
        with self._changed:
            self._read_on()
            return self._lines[since:]

    def mark(self) -> int:
        """The position after the last line, to be given as `since`."""
        with self._changed:
            self._read_on()
            return len(self._lines)

    def text(self, since: int = 0) -> str:
        """The lines so far as one string."""
        return "\n".join(self.lines(since))

    def matching(self, pattern: str, since: int = 0) -> list[str]:
        """The lines in which the regular expression is found."""
        return [line for line in self.lines(since) if re.search(pattern, line)]

    def wait_for_line(
        self, pattern: str, deadline: float = DEADLINE, since: int = 0, count: int = 1
    ) -> str:
        """Waits until `count` lines match and returns the last of them."""
        end = time.monotonic() + scaled(deadline)
        with self._changed:
            while True:
                self._read_on()
                found = [line for line in self._lines[since:] if re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    why = (
                        "the stream ended"
                        if self._ended
                        else f"not within {scaled(deadline):.1f} s"
                    )
                    text = "\n".join(self._lines)
                    raise AssertionError(
                        f"{count} lines like {pattern!r} on {self.name}: {why}; got\n{text}"
                    )
                self._changed.wait(left)

    def wait_for_end(self, deadline: float = DEADLINE) -> bool:
        """Waits for end of file, that is until no process holds the pipe any more."""
        self._thread.join(scaled(deadline))
        return not self._thread.is_alive()


class Gate:
    """A meeting point with the app: it says that it arrived, and goes on when it is let through.

    Two FIFOs in the test's directory. The test holds both ends open, so neither side ever blocks in
    open(2); the app uses apps/meeting.py.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._ends = []
        for suffix in ("arrived", "passed"):
            path = directory / f"{name}.{suffix}"
            os.mkfifo(path)
            self._ends.append(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        self._arrived, self._passed = self._ends

    def wait_arrived(self, count: int = 1, deadline: float = DEADLINE) -> None:
        """Waits until `count` calls of the app have arrived."""
        end = time.monotonic() + scaled(deadline)
        missing = count
        while missing:
            ready = is_readable(self._arrived, max(0.0, end - time.monotonic()))
            assert ready, f"{missing} of {count} did not arrive within {scaled(deadline):.1f} s"
            missing -= len(os.read(self._arrived, missing))

    def has_arrived(self) -> bool:
        """Whether somebody waits at the gate that was not counted yet."""
        return is_readable(self._arrived, 0)

    def let_pass(self, count: int = 1) -> None:
        """Lets so many calls go on, those that wait now or those to come."""
        os.write(self._passed, b"." * count)

    def close(self) -> None:
        """Closes the test's ends; whoever still waits reads end of file and goes on."""
        for end in self._ends:
            os.close(end)
