"""Each end that nobody wanted leaves one record with everything that is known of it."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress

import pytest
from harness import BadResponse, Record, Server, Stage, is_alive, records, wait_record, wait_until

pytestmark = pytest.mark.ironhorn("has no such record")

FORMATS = pytest.mark.parametrize("log_format", ["text", "json"])


def serve(stage: Stage, app: str = "toolbox:app", **settings: object) -> Server:
    server = stage.serve(app, **settings)
    server.allow_log("worker died", "request timeout", "graceful timeout", "too much memory")
    return server


def lose(server: Server, target: str) -> None:
    """Sends a request whose worker does not survive it."""
    with server.connect() as wire, suppress(BadResponse, ConnectionError):
        assert wire.get(target).read_response().status == 504


def the_record(server: Server, shows: str = "", **fields: str) -> Record:
    """The only one, with what all of them have."""
    record = wait_record(server.log, "worker died", 15, shows=shows, **fields)
    assert len([each for each in records(server.log) if each.message == "worker died"]) == 1
    assert record.level == "ERROR"
    assert (record["worker"], record["generation"]) == ("1", "1")
    assert re.fullmatch(r"\d+\.\d+s", record["age"])
    assert int(record["peak_memory"]) > 5_000_000
    assert not server.log.matching(rf"pid.{{2,4}}{record['pid']}\b.*exited")
    assert "out of memory" not in server.log.text()
    return record


@FORMATS
def test_a_signal_of_its_own(stage: Stage, log_format: str) -> None:
    """The crash's stacks are there, written in its last moment."""
    server = serve(stage, log_format=log_format)
    pid = server.worker()
    server.get("/hello")
    lose(server, "/segfault?x")
    record = the_record(server, shows=r"line \d+ in segfault\b", signal="SIGSEGV")
    assert record["reason"] == "signal SIGSEGV"
    assert record["pid"] == str(pid)
    assert record["served"] == "1"
    assert re.fullmatch(r"GET /segfault\?x \d+\.\d+s", record["requests"])
    assert "Fatal Python error: Segmentation fault" in record.block
    server.wait_ready(2)
    assert server.get("/hello").status == 200


@FORMATS
def test_a_signal_from_outside(stage: Stage, log_format: str) -> None:
    """Nobody knows whose it was: nothing is claimed about memory."""
    server = serve(stage, log_format=log_format)
    os.kill(server.worker(), signal.SIGKILL)
    record = the_record(server, signal="SIGKILL")
    assert record["reason"] == "signal SIGKILL"
    assert (record["served"], record.get("requests"), record.block) == ("0", None, "")
    server.wait_ready(2)


@FORMATS
def test_an_exit_code(stage: Stage, log_format: str) -> None:
    server = serve(stage, log_format=log_format)
    lose(server, "/exit")
    record = the_record(server)
    assert record["reason"] == "exit code 7"
    assert record.get("signal") is None
    assert record["requests"].startswith("GET /exit ")
    server.wait_ready(2)


@FORMATS
def test_a_timeout(stage: Stage, log_format: str) -> None:
    """The stacks are those of the moment before it is killed."""
    server = serve(stage, log_format=log_format, timeout=1, graceful_timeout=1)
    lose(server, "/hold")
    record = the_record(server, shows=r"line \d+ in hold\b", signal="SIGKILL")
    assert record["reason"] == "timeout"
    (request, age) = record["requests"].rsplit(" ", 1)
    assert request == "GET /hold"
    assert 1.9 <= float(age.removesuffix("s")) <= 6


@FORMATS
def test_a_boot_that_takes_too_long(stage: Stage, log_format: str) -> None:
    """Where the import hangs is to be seen."""
    stage.gate("boot")
    server = stage.serve("slow_boot:app", ready=False, log_format=log_format, boot_timeout=1)
    server.allow_log("worker died", "start failed")
    server.expected_exit = 3
    record = the_record(server, shows=r'slow_boot\.py", line \d+ in <module>', signal="SIGKILL")
    assert record["reason"] == "boot timeout"
    assert server.wait_exit() == 3


@FORMATS
def test_a_boot_that_fails(stage: Stage, log_format: str) -> None:
    """When the server serves already: the traceback is the worker's own to log."""
    code = stage.directory / "shop.py"
    code.write_text("from toolbox import app\n")
    server = serve(stage, "shop:app", log_format=log_format, workers=2)
    server.allow_log("boot failed", "Traceback", "respawn delayed", "fork failed")
    code.write_text("raise RuntimeError('broken on purpose')\n")
    os.kill(server.workers()[0], signal.SIGKILL)
    record = wait_record(server.log, "worker died", reason="boot failure")
    assert record["served"] == "0"
    assert wait_record(server.log, "boot failed", shows="broken on purpose")
    code.write_text("from toolbox import app\n")
    server.wait_ready(3, 35)


@FORMATS
def test_too_much_memory(stage: Stage, log_format: str) -> None:
    server = serve(stage, "leaking:app", log_format=log_format, max_memory_hard="120m")
    old = server.worker()
    assert server.get("/leak?160").body == b"1"
    record = the_record(server, signal="SIGKILL")
    assert record["reason"] == "max_memory_hard"
    assert 160 << 20 <= int(record["memory"]) <= int(record["peak_memory"]) + (64 << 20)
    too_much = wait_record(server.log, "too much memory", pid=str(old))
    assert int(too_much["memory"]) == int(record["memory"])
    wait_until(lambda: not is_alive(old))
    server.wait_ready(2)
    assert server.get("/hello").status == 200


def test_the_users_own_faulthandler_is_left_alone(stage: Stage) -> None:
    """Who asks Python for the stacks of a crash on stderr has them there."""
    server = stage.serve(env={"PYTHONFAULTHANDLER": "1"})
    server.allow_log("worker died")
    lose(server, "/segfault")
    assert wait_record(server.log, "worker died", signal="SIGSEGV").block == ""
    server.log.wait_for_line("Fatal Python error: Segmentation fault")
    server.wait_ready(2)


def test_an_end_that_was_wanted_leaves_none(stage: Stage) -> None:
    server = serve(stage, workers=2)
    os.kill(server.workers()[0], signal.SIGTERM)
    server.wait_ready(3)
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.send(signal.SIGTTOU)
    server.log.wait_for_line("workers changed")
    assert server.stop() == 0
    server.log.wait_for_end()
    assert not server.log.matching("worker died")
    exited = [record for record in records(server.log) if record.message == "exited"]
    assert len(exited) == 5
    assert {record["reason"] for record in exited} == {"asked"}
