"""Exceptions of the app, wsgi.errors, early hints, and signal handlers of the app."""

from __future__ import annotations

import os
import signal

import pytest
from harness import BadResponse, Server, Stage, request, wait_until


def test_environ_is_a_dict_of_native_strings(server: Server) -> None:
    assert server.get("/kinds").body == b"['dict', [], True]"


def test_environ_is_new_for_each_request(server: Server) -> None:
    with server.connect() as wire:
        assert [wire.get("/counted").read_response().body for _ in range(3)] == [b"False"] * 3


def test_wsgi_errors_reach_the_log(server: Server) -> None:
    mark = server.log.mark()
    server.get("/errors")
    for line in ("a line", "and one of pieces", "printed 7", "caf"):
        server.log.wait_for_line(line, since=mark)


@pytest.mark.ironhorn("its wsgi.errors is the bare stream")
def test_an_unfinished_line_of_wsgi_errors_is_not_lost(server: Server) -> None:
    mark = server.log.mark()
    server.get("/errors_unfinished")
    server.log.wait_for_line("no newline at the end", since=mark)


@pytest.mark.parametrize("name", ["raises", "raises_after_start", "raises_unprintable"])
def test_an_exception_before_the_head(server: Server, name: str) -> None:
    """A plain 500 for the client, the traceback for the log, and the worker goes on."""
    with server.complains("Traceback"), server.complains("in " + name):
        response = server.get(f"/{name}")
    assert response.status == 500
    assert b"purpose" not in response.body
    assert server.get("/one_item_list").status == 200


def test_the_traceback_names_the_request(server: Server) -> None:
    with server.complains("/raises"):
        server.get("/raises?secret=1")


def test_an_exception_after_the_head_cuts_the_connection(server: Server) -> None:
    with server.complains("on purpose, in the iterable"), server.connect() as wire:
        wire.get("/closes_after_error?cut").read_head()
        assert wire.read_chunk() == b"first"
        with pytest.raises((BadResponse, ConnectionError)):
            wire.read_chunk()


@pytest.mark.ironhorn("the worker exits")
@pytest.mark.parametrize("name", ["raises_system_exit", "raises_keyboard_interrupt"])
def test_leaving_python_is_only_an_error_of_the_request(server: Server, name: str) -> None:
    with server.complains("SystemExit|KeyboardInterrupt"):
        assert server.get(f"/{name}").status == 500
    assert server.get("/one_item_list").status == 200


def test_early_hints(server: Server) -> None:
    response = server.get("/early_hints")
    assert [(hint.status, hint.get("Link")) for hint in response.interim] == [
        (103, "</style.css>; rel=preload")
    ]
    assert response.body == b"hinted"


def test_early_hints_are_not_for_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        response = wire.send(request("GET", "/early_hints", version="HTTP/1.0")).read_response()
    assert (response.interim, response.body) == ([], b"hinted")


def test_early_hints_cannot_inject(server: Server) -> None:
    with server.connect() as wire:
        raw = wire.get("/early_hints_bad", "Connection: close").read_to_end()
    assert b"X-Injected" not in raw


@pytest.mark.ironhorn("runs the app in a thread here, which cannot take signals")
def test_a_signal_handler_of_the_app_runs(stage: Stage) -> None:
    assert stage.serve().get("/own-signal").body == b"SIGALRM"


def test_a_signal_handler_set_at_import_runs(stage: Stage) -> None:
    """Also while the worker is idle, where no Python code runs."""
    (stage.directory / "handled.py").write_text(
        "import signal\n"
        "from meeting import note\n"
        "from toolbox import app\n"
        "signal.signal(signal.SIGALRM, lambda *_: note('handled', 'SIGALRM'))\n"
    )
    server = stage.serve("handled:app")
    assert server.get("/hello").status == 200
    os.kill(server.worker(), signal.SIGALRM)
    wait_until((stage.directory / "handled").exists, what="the handler ran")
    assert server.get("/hello").status == 200
