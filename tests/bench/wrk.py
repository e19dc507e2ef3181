"""wrk: the load, and what it says of latency and errors, by its Lua interface."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .asking import Asking
from .cores import Cores
from .running import pinned

SLACK = 20
"""Seconds beyond its duration after which it is ended."""
MARK = "bench: "

DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'bench: {"requests": %d, "us": %d, "bytes": %d, "p50": %f, "p99": %f, "p999": %f, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50),
    latency:percentile(99), latency:percentile(99.9), e.connect, e.read, e.write, e.status,
    e.timeout))
end
"""


class Failed(Exception):
    """wrk said nothing that can be used."""


@dataclass(frozen=True)
class Load:
    """One run of it."""

    address: tuple[str, int]
    asking: Asking
    connections: int
    seconds: float
    pipelined: int = 1
    pause_ms: int = 0
    """Each connection waits so long between two requests, on average."""
    tls: bool = False


def is_installed() -> bool:
    """Whether there is one."""
    return shutil.which("wrk") is not None


def version() -> str:
    """What it calls itself."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=10)
    found = re.search(r"wrk (\S+)", done.stdout + done.stderr)
    return found[1] if found else "wrk"


def script(load: Load, directory: Path) -> str:
    """The Lua program for a load."""
    lines = [f"wrk.method = {quoted(load.asking.method)}"]
    lines += [f"wrk.headers[{quoted(n)}] = {quoted(v)}" for n, v in load.asking.headers]
    if load.asking.body:
        body = directory / "wrk.body"
        body.write_bytes(load.asking.body)
        lines.append(f'wrk.body = io.open({quoted(str(body))}, "rb"):read("*a")')
    if load.pipelined > 1:
        lines += [
            "local batch",
            "init = function(args)",
            "  local each = {}",
            f"  for i = 1, {load.pipelined} do each[i] = wrk.format() end",
            "  batch = table.concat(each)",
            "end",
            "request = function() return batch end",
        ]
    if load.pause_ms:
        half = load.pause_ms // 2
        lines.append(f"delay = function() return math.random({half}, {load.pause_ms + half}) end")
    return "\n".join(lines) + "\n" + DONE


def quoted(text: str) -> str:
    """A string in Lua; JSON's differs only in what isn't used here."""
    return json.dumps(text)


def run(load: Load, cores: Cores, directory: Path) -> dict[str, float]:
    """Runs it on the client's cores; times in milliseconds."""
    program = directory / "wrk.lua"
    program.write_text(script(load, directory))
    threads = max(1, min(len(cores.client), load.connections, 4))
    host, port = load.address
    # It knows whole seconds only.
    seconds = max(1, round(load.seconds))
    command = ["wrk", f"-t{threads}", f"-c{load.connections}", f"-d{seconds}s", "--timeout=5s"]
    command += ["-s", str(program)]
    command.append(f"{'https' if load.tls else 'http'}://{host}:{port}{load.asking.path}")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + SLACK,
            preexec_fn=pinned(cores.client),
        )
    except subprocess.TimeoutExpired:
        raise Failed("wrk did not end") from None
    return read(done.stdout, done.stderr)


def read(said: str, error: str = "") -> dict[str, float]:
    """The figures of its output. `ends` are connections that ended where the answer before had not
    said so: failures, or a server that closes every one.
    """
    _, found, rest = said.partition(MARK)
    if not found:
        raise Failed((error or said).strip()[-120:] or "wrk said nothing")
    told = json.loads(rest.splitlines()[0])
    seconds = told["us"] / 1e6
    return {
        "requests": told["requests"],
        "seconds": seconds,
        "rps": told["requests"] / seconds,
        # It has none where its correction for what it could not ask in time goes astray.
        **{name: told[name] / 1000 for name in ("p50", "p99", "p999") if told[name] > 0},
        "not_ok": told["status"],
        "errors": told["connect"] + told["write"] + told["timeout"],
        "ends": told["read"],
    }
