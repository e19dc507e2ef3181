"""What a tree of processes has used, as the kernel tells."""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.measure import living, memory
from harness.process import descendants

TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A server's processes: of its session, and below it, should one have left the session."""
    return sorted({*living(pid), *descendants(pid)})


def leaves(pid: int) -> list[int]:
    """Those that have no children: the workers, wherever a server forks them from."""
    return [each for each in tree(pid) if not descendants(each)]


def process_seconds(pid: int) -> float:
    """User and system time of all threads of a process, those that have ended too, to the
    nanosecond: /proc/PID/stat has ticks of 10 ms. 0 if it is gone.

    The clock's number is made of the pid as clock_getcpuclockid(3) does it, which Python hasn't.
    """
    scheduled = 2
    try:
        return time.clock_gettime((~pid << 3) | scheduled)
    except OSError:
        return 0.0


def reaped_seconds(pid: int) -> float:
    """The same of the children that it has waited for, in ticks."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[13]) + int(fields[14])) * TICK


def cpu_seconds(pid: int) -> float:
    """Of the whole tree below a process, of children that are gone too."""
    return sum(process_seconds(each) + reaped_seconds(each) for each in tree(pid))


def pss(pid: int) -> int:
    """Bytes of proportional set size of the tree: what is shared within it counts once."""
    return memory(tree(pid))
