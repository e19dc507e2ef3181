"""The server's own log: the form of its lines in text and JSON, levels and filters, files."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from harness import Server, Stage, wait_until

pytestmark = pytest.mark.ironhorn("another log format")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
VALUE = r'("(\\.|[^"\\])*"|[^\s"]+)'
LINE = re.compile(rf"{TIME} (ERROR|WARN|INFO|DEBUG|TRACE) [\w:.]+:( [a-z_]+={VALUE})* [a-z].*")


def life(server: Server) -> None:
    """Start, reload, a worker that dies, stop."""
    server.allow_log("worker died")
    old = set(server.workers())
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    wait_until(lambda: not old & set(server.workers()))
    os.kill(server.workers()[0], signal.SIGKILL)
    server.log.wait_for_line("SIGKILL")
    server.wait_ready(5)
    server.send(signal.SIGTTIN)
    server.wait_ready(6)
    assert server.stop() == 0
    server.log.wait_for_end()


def test_lines_of_text(stage: Stage) -> None:
    server = stage.serve(workers=2)
    life(server)
    strange = [line for line in server.log.lines() if not LINE.fullmatch(line)]
    assert not strange
    for pattern in (
        r"INFO ironhorn: .*listening .*address=",
        r"INFO ironhorn: worker=1 generation=1 pid=\d+ ready after=\d+(\.\d+)?m?s$",
        r"INFO ironhorn: .*reloading",
        r"INFO ironhorn: worker=\d generation=1 pid=\d+ exited .*reason=\"?asked",
        r"INFO ironhorn: .*reloaded",
        r"ERROR ironhorn: worker=\d generation=2 pid=\d+ worker died reason=\"signal SIGKILL\" ",
        r"INFO ironhorn: .*stopping mode=graceful",
        r"INFO ironhorn: .*stopped",
    ):
        assert server.log.matching(pattern), f"{pattern}\n{server.log.text()}"


def test_lines_of_json(stage: Stage) -> None:
    server = stage.serve(workers=2, log_format="json")
    life(server)
    lines = [json.loads(line) for line in server.log.lines()]
    for line in lines:
        assert re.fullmatch(TIME, line["time"])
        assert line["level"] in ("ERROR", "WARN", "INFO")
    messages = {line["message"]: line for line in lines}
    assert messages["ready"]["worker"] in (1, 2, 3)
    assert isinstance(messages["ready"]["pid"], int)
    assert {"listening", "ready", "reloading", "reloaded", "exited", "stopping", "stopped"} <= set(
        messages
    )
    killed = next(line for line in lines if line.get("reason") == "signal SIGKILL")
    assert (killed["generation"], killed["served"]) == (2, 0)


def test_a_traceback_in_text_and_json(stage: Stage) -> None:
    text, json_ = stage.serve(), stage.serve(log_format="json")
    for server in (text, json_):
        server.allow_log("ERROR", "Traceback")
        assert server.get("/fail?secret").status == 500
        server.log.wait_for_line("the app failed on purpose")
    lines = text.log.lines()
    at = next(index for index, line in enumerate(lines) if " ERROR " in line)
    assert "path=/fail" in lines[at]
    assert "method=GET" in lines[at]
    assert lines[at + 1] == "Traceback (most recent call last):"
    entry = next(line for line in map(json.loads, json_.log.lines()) if line["level"] == "ERROR")
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert entry["traceback"].rstrip().endswith("ValueError: the app failed on purpose")
    assert entry["path"] == "/fail"


def test_a_peer_cannot_forge_a_line(stage: Stage) -> None:
    server = stage.serve(log_level="debug")
    server.allow_log("Traceback", "ERROR")
    for raw in (
        b"GET /fail?%0d%0aX HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x1b[31mG\nERROR forged\r\n\r\n",
    ):
        with server.connect() as wire:
            wire.send(raw).half_close()
            wire.read_to_end()
    assert server.stop() == 0
    assert not server.log.matching(r"^ERROR forged")
    assert "\x1b" not in server.log.text()


@pytest.mark.parametrize(
    ("level", "ready", "debug"),
    [("debug", True, True), ("info", True, False), ("warning", False, False)],
)
def test_levels(stage: Stage, level: str, ready: bool, debug: bool) -> None:
    server = stage.serve(log_level=level, ready=False)
    server.wait_answer("/hello")
    with server.connect() as wire:
        wire.send(b"nonsense\r\n\r\n").read_to_end()
    server.stop()
    server.log.wait_for_end()
    assert bool(server.log.matching(r" INFO .*\bready\b")) == ready
    assert bool(server.log.matching(" DEBUG ")) == debug


def test_filters_by_module(stage: Stage) -> None:
    server = stage.serve(env={"IRONHORN_LOG": "ironhorn_worker=debug"})
    with server.connect() as wire:
        wire.send(b"nonsense\r\n\r\n").read_to_end()
    server.stop()
    server.log.wait_for_end()
    assert server.log.matching(" DEBUG ")
    assert server.log.matching(r" INFO .*\bready\b")


def test_refusals_are_debug(stage: Stage) -> None:
    server = stage.serve(log_level="debug")
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n").read_response()
    server.log.wait_for_line(r" DEBUG .*(400|Host|host)")


def test_into_a_file(stage: Stage) -> None:
    server = stage.serve(error_logfile="error.log", ready=False)
    server.wait_answer("/hello")
    path = stage.directory / "error.log"
    wait_until(lambda: "ready" in path.read_text())
    server.stop()
    assert "stopped" in path.read_text()
    assert server.log.lines() == []


def test_the_file_is_appended_to(stage: Stage) -> None:
    path = stage.directory / "error.log"
    path.write_text("before\n")
    server = stage.serve(error_logfile="error.log", ready=False)
    server.wait_answer("/hello")
    assert path.read_text().startswith("before\n")
