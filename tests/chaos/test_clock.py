"""A wall clock that jumps: what is said of the time is right, what takes time takes as long as it
should, and nobody is lost.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from harness import Load, Server, Stage, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]

DAY = 86_400
JUMPS = [30 * DAY, -3 * DAY, 0]


@dataclass
class Clock:
    """The wall clock of the servers that have its environment."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes a server have it."""
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}

    def set(self, ahead: int) -> None:
        """It is so many seconds ahead from now on."""
        new = self.file.with_suffix(".new")
        new.write_text(str(ahead))
        os.replace(new, self.file)


@pytest.fixture
def clock(stage: Stage) -> Clock:
    """A clock that goes right."""
    made = Clock(stage.directory / "clock.so", stage.directory / "clock")
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made.library, source], check=True)
    made.set(0)
    return made


def shown(server: Server) -> float:
    """The seconds that the server's clock is ahead, by the Date of its responses."""
    return parsedate_to_datetime(server.get("/hello").get("Date") or "").timestamp() - time.time()


def test_answers_go_on_and_are_dated_right(stage: Stage, clock: Clock) -> None:
    limits = {"timeout": 3, "keepalive": 30, "max_lifetime": 3600, "max_memory": "4g"}
    server = stage.serve(workers=2, env=clock.environment, **limits)
    workers = server.workers()
    with Load(server.address, keep_alive=2, one_request=2) as load:
        for ahead in JUMPS:
            clock.set(ahead)
            wait_until(lambda ahead=ahead: abs(shown(server) - ahead) < 2, what=f"{ahead} in Date")
            # Longer than a heartbeat.
            since = time.monotonic()
            wait_until(lambda since=since: time.monotonic() - since > 1.2)
            load.wait_more(20)
    load.stop().assert_none_failed()
    assert server.workers() == workers
    assert not server.log.matching("woke late|silent|timeout")


@pytest.mark.alone
@pytest.mark.parametrize("ahead", JUMPS[:2])
def test_a_timeout_comes_at_its_time(stage: Stage, clock: Clock, ahead: int) -> None:
    gate = stage.gate("stuck")
    server = stage.serve(timeout=2, graceful_timeout=1, env=clock.environment)
    server.allow_log("request timeout", "worker died", "graceful timeout")
    with server.connect() as wire:
        began = time.monotonic()
        wire.get("/meet?stuck")
        gate.wait_arrived()
        clock.set(ahead)
        assert wire.read_response().status == 504
        took = time.monotonic() - began
    assert 2 <= took < 3.5
    server.log.wait_for_line("worker died")
    server.wait_workers(1)
    assert server.get("/hello").status == 200


@pytest.mark.alone
@pytest.mark.parametrize("ahead", JUMPS[:2])
def test_so_does_that_of_a_client(stage: Stage, clock: Clock, ahead: int) -> None:
    server = stage.serve(header_timeout=2, env=clock.environment)
    with server.connect() as wire:
        began = time.monotonic()
        wire.send(b"GET / HTTP/1.1\r\n")
        clock.set(ahead)
        wire.read_to_end()
        took = time.monotonic() - began
    assert 2 <= took < 3.5
    assert server.get("/hello").status == 200
