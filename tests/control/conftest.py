"""`ironhorn ctl` as an operator or a deploy script runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Server, Stage
from harness.process import DEADLINE, scaled

NOBODY = 65534
# The interpreter may be where nobody else can read: it is loaded first.
AS_NOBODY = f"""
import os, sys
from ironhorn._ironhorn import main
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""


class Ctl:
    """Runs `ironhorn ctl` against the servers of a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(
        self,
        *arguments: object,
        code: int = 0,
        as_nobody: bool = False,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        deadline: float = DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        """Runs it to its end and asserts the exit code."""
        argv = self.argv(*arguments)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *argv[1:]] if as_nobody else argv,
            cwd=cwd or self.stage.directory,
            env=self.stage.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=scaled(deadline),
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        if code == 0:
            assert not done.stderr, done.stderr
        return done

    def argv(self, *arguments: object) -> list[str]:
        """The command line."""
        return [*self.stage.flavour.command, "ctl", *map(str, arguments)]

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """The reply, parsed."""
        lines = self("--json", *arguments, code=code).stdout.splitlines()
        (line,) = lines
        return json.loads(line)

    def begin(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts it; the test waits for it."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.stage.directory,
            env=self.stage.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def ctl(stage: Stage) -> Ctl:
    """Runs the command."""
    return Ctl(stage)


@pytest.fixture
def socket_of(stage: Stage) -> Callable[[Server], Path]:
    """Where a server's control socket is, if nothing is said of it."""
    return lambda server: stage.directory / "run" / "ironhorn" / f"{server.pid}.ctl"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can get to, for sockets that not everybody may use."""
    with tempfile.TemporaryDirectory(prefix="ironhorn-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def root() -> None:
    """Only root can be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
