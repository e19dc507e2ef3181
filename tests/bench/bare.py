"""Runs launch/bare.py on the server's cores."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .cores import share
from .running import pinned
from .scenario import Scenario
from .servers import HERE, Place

ATTEMPT = 30.0


def microseconds(
    scenario: Scenario, place: Place, files: Path, seconds: float = 0.3
) -> float | None:
    """What the environ and the app of a scenario take, None if the loop can't run it."""
    told = scenario.asking.told()
    command = [
        str(place.bin / "python"),
        str(HERE / "launch" / "bare.py"),
        scenario.wanted.app,
        str(seconds),
    ]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(HERE / "apps"),
        "BENCH_FILES": str(files),
    }
    try:
        done = subprocess.run(
            command,
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=ATTEMPT,
            env=environment,
            preexec_fn=pinned(share(1).server),
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout) if done.returncode == 0 else None
