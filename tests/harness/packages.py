"""Packages from PyPI in an environment of their own, installed once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path


class Missing(Exception):
    """What can't be had, and why."""


def install(environment: Path, *wanted: str, within: float) -> None:
    """Installs packages together, unless that was done, in an environment that is made if need be;
    raises Missing if a step takes longer than that many seconds, or fails.

    Tests of several processes may want them at the same time: one of them installs.
    """
    environment.parent.mkdir(parents=True, exist_ok=True)
    python = environment / "bin" / "python"
    stamp = environment / (".installed-" + "+".join(wanted).replace("=", "-").replace("<", "-"))
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not python.exists():
            run(sys.executable, "-m", "venv", "--clear", str(environment), within=within)
        if not stamp.exists():
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run(*pip, *wanted, within=within)
            stamp.touch()


def run(*command: str, within: float) -> None:
    """Runs a step; raises Missing with the end of what it printed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{' '.join(command)}: not over after {within} s") from None
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Missing(f"{' '.join(command)} failed: {' | '.join(said[-5:])}")
