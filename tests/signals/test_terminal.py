"""A server in the foreground of a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios

import pytest
from harness import Stage, wait_until

pytestmark = pytest.mark.ironhorn("heeds WINCH as a daemon only")


def test_a_window_that_changes_its_size_sends_no_worker_away(stage: Stage) -> None:
    """The kernel sends WINCH to the foreground process group."""
    log = stage.directory / "error.log"
    arguments = [*stage.flavour.command, "--bind=127.0.0.1:0", f"--error-logfile={log}"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(stage.directory)
        environment = stage.environment()
        os.execvpe(arguments[0], [*arguments, "toolbox:app"], environment)

    def wait_for(text: str) -> None:
        wait_until(lambda: log.exists() and text in log.read_text(), what=text)

    try:
        wait_for("serving")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
        wait_for("ignored in the foreground of a terminal")
        assert "workers leave" not in log.read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0
        os.close(terminal)
    assert "reason=asked" in log.read_text()
