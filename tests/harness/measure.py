"""What a server costs and leaves behind, as the kernel tells: the processes of its session, memory,
descriptors, shared mappings.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path


def members(session: int) -> dict[int, str]:
    """Every process of a session with its state letter, zombies too: a server of the harness leads
    a session of its own, and its orphans stay in it.
    """
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            text = Path(f"/proc/{name}/stat").read_text(errors="replace")
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        if int(fields[3]) == session:
            found[int(name)] = fields[0]
    return found


def living(session: int) -> list[int]:
    """The processes of a session that are no zombies."""
    return sorted(pid for pid, state in members(session).items() if state not in "ZX")


def zombies(session: int) -> list[int]:
    """The processes of a session that nobody has waited for."""
    return sorted(pid for pid, state in members(session).items() if state == "Z")


def memory(pids: list[int]) -> int:
    """Bytes of proportional set size of all of them; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
        total += int(line.split()[1]) * 1024
    return total


def descriptors(pid: int) -> int:
    """How many descriptors a process has open, 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def kinds_of_descriptors(pid: int) -> Counter[str]:
    """The same by kind (socket, pipe, memfd …), for telling what was left."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        found[target.partition(":[")[0]] += 1
    return found


def shared_mappings(pid: int) -> int:
    """How many mappings of memory that processes share (MAP_SHARED of a memfd, of /dev/zero or of
    /dev/shm) a process has.
    """
    try:
        text = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return 0
    rows = (line.split(maxsplit=5) for line in text.splitlines())
    return sum(row[1].endswith("s") for row in rows)
