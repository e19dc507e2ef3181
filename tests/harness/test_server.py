"""What the harness promises of a server that it hands out."""

from __future__ import annotations

import sys

from harness.server import Stage

SLOW = """
import signal, sys, time
say = lambda line: print(line, file=sys.stderr, flush=True)
say("2026-01-01T00:00:00.000Z INFO ironhorn: worker=1 generation=1 pid=1 ready after=0.01s")
time.sleep(0.3)
say("2026-01-01T00:00:00.300Z INFO ironhorn: serving")
signal.sigwait([signal.SIGTERM])
"""


def test_the_start_is_told_in_full(stage: Stage) -> None:
    """No line of it comes later, between two writes of a worker on the same stderr."""
    script = stage.directory / "slow.py"
    script.write_text("import signal\nsignal.pthread_sigmask(0, [signal.SIGTERM])\n" + SLOW)
    server = stage.serve(None, command=[sys.executable, str(script)])
    assert server.log.matching(server.flavour.serving)
    assert server.stop() == 0
