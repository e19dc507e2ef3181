"""A request that runs longer than `timeout`: what its client, the others and the operator see."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from harness import BadResponse, Server, Stage, Wire, is_alive, request, wait_record, wait_until
from harness.process import holds_for, scaled

pytestmark = pytest.mark.ironhorn("its timeout is a heartbeat")

TIMEOUT = 1


def serve(stage: Stage, **settings: object) -> Server:
    server = stage.serve("stuck:app", **{"timeout": TIMEOUT, "graceful_timeout": 30, **settings})
    server.allow_log("request timeout", "worker died", "graceful timeout")
    return server


def close_log(server: Server, reason: str = "timeout") -> None:
    """The stuck worker is gone, for this reason."""
    server.log.wait_for_line(rf"(exited|worker died) .*reason={reason}", 15)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("/wait?60", r"toolbox\.py\", line \d+ in wait\b"),
        ("/spin", r"toolbox\.py\", line \d+ in spin\b"),
        ("/hold", r"toolbox\.py\", line \d+ in hold\b"),
        ("/backtrack", r"stuck\.py\", line \d+ in backtrack\b"),
        ("/threads", r"stuck\.py\", line \d+ in wait_for_work\b"),
    ],
)
def test_what_is_told(stage: Stage, target: str, where: str, log_format: str) -> None:
    """The client gets 504 after the time, the log names the request and shows every thread."""
    server = serve(stage, graceful_timeout=1, log_format=log_format)
    pid = server.worker()
    with server.connect() as wire:
        started = time.monotonic()
        response = wire.get(target).read_response()
        took = time.monotonic() - started
        assert TIMEOUT <= took <= TIMEOUT + scaled(1.0)
        assert (response.status, response.body) == (504, b"Gateway Timeout\n")
        assert response.closes
        wire.wait_closed()
    record = wait_record(server.log, "request timeout", shows=where)
    assert record.level == "ERROR"
    assert (record["method"], record["path"], record["status"]) == ("GET", target, "504")
    assert (record["worker"], record["generation"], record["pid"]) == ("1", "1", str(pid))
    assert re.fullmatch(r"1\.[0-9]s", record["age"]), record
    assert "most recent call first" in record.block
    if target == "/threads":
        assert record.block.count("most recent call first") == 2
        assert re.search(r"line \d+ in with_threads\b", record.block)

    record = wait_record(server.log, "worker died", reason="timeout", signal="SIGKILL", shows=where)
    assert f"GET {target} " in record["requests"]
    wait_until(lambda: not is_alive(pid))
    assert server.get("/hello").status == 200
    assert "out of memory" not in server.log.text()


def test_the_replacement_serves_while_the_old_one_is_stuck(stage: Stage) -> None:
    """And when the app comes back after all, what it answers is dropped, and the worker leaves."""
    server = serve(stage, access_logfile="-", access_logformat="%(m)s %(U)s %(s)s")
    gate = stage.gate("stuck")
    old = server.worker()
    with server.connect() as wire:
        wire.get("/meet?stuck")
        gate.wait_arrived()
        assert wire.read_response().status == 504
        server.wait_ready(2)
        for _ in range(5):
            assert server.get("/pid").body != b"%d\n" % old
        assert is_alive(old)
        gate.let_pass()
        wire.wait_closed()
    wait_until(lambda: not is_alive(old))
    close_log(server)
    server.output.wait_for_line("^GET /meet 504$")
    assert server.log.matching(r"WARN .*response dropped.* method=GET path=/meet after=\d+\.\ds$")
    assert len(server.output.matching("/meet")) == 1
    assert not server.log.matching("SIGKILL")


def test_who_waits_in_the_same_worker_is_served_if_the_app_comes_back(stage: Stage) -> None:
    server = serve(stage)
    gate = stage.gate("stuck")
    old = server.worker()
    with server.connect() as waiting, server.connect() as stuck:
        assert waiting.get("/pid").read_response().body == b"%d\n" % old
        stuck.get("/meet?stuck")
        gate.wait_arrived()
        waiting.get("/pid")
        assert stuck.read_response().status == 504
        server.wait_ready(2)
        assert waiting.is_silent_for(0.2)
        gate.let_pass()
        response = waiting.read_response()
        assert response.body == b"%d\n" % old
        assert response.closes
    close_log(server)


def test_who_waits_in_the_same_worker_loses_if_it_does_not(stage: Stage) -> None:
    server = serve(stage, graceful_timeout=1)
    old = server.worker()
    with server.connect() as waiting, server.connect() as stuck:
        waiting.get("/pid").read_response()
        stuck.get("/hold")
        stuck.send(request("GET", "/hello"))
        wait_until(lambda: not waiting.is_silent_for(0.01) or server.log.matching("timeout"), 5)
        waiting.get("/pid")
        started = time.monotonic()
        assert stuck.read_response().status == 504
        waiting.wait_closed()
        assert time.monotonic() - started <= 1 + scaled(2.0)
    wait_until(lambda: not is_alive(old))
    wait_record(server.log, "worker died", reason="timeout", signal="SIGKILL")
    assert server.get("/hello").status == 200


def test_a_head_has_no_body(stage: Stage) -> None:
    server = serve(stage, graceful_timeout=0)
    with server.connect() as wire:
        response = wire.send(request("HEAD", "/wait?60")).read_response("HEAD")
        assert response.status == 504
        wire.wait_closed()
    close_log(server)


def test_nothing_of_what_was_pipelined_is_answered(stage: Stage) -> None:
    """Behind the 504 the connection ends, whatever was sent; before it, all is answered."""
    server = serve(stage)
    gate = stage.gate("stuck")
    with server.connect() as wire:
        targets = ("/hello", "/meet?stuck", "/hello", "/hello")
        wire.send(b"".join(request("GET", target) for target in targets))
        gate.wait_arrived()
        assert wire.read_response().body == b"hello\n"
        assert wire.read_response().status == 504
        gate.let_pass()
        wire.wait_closed()
    close_log(server)


def test_a_stream_has_its_time_from_the_last_chunk(stage: Stage) -> None:
    """Its head is out, so there is no 504: the client sees a body that doesn't end."""
    server = serve(stage, graceful_timeout=1, access_logfile="-", access_logformat="%(s)s %(r)s")
    first, second = stage.gate("first"), stage.gate("second")
    old = server.worker()
    with server.connect() as wire:
        wire.get("/noted?first,second,never")
        never = stage.gate("never")
        first.wait_arrived()
        assert wire.is_silent_for(0.6)
        first.let_pass()
        assert wire.read_head().status == 200
        assert wire.read_chunk() == b"chunk\n"
        second.wait_arrived()
        holds_for(lambda: not server.log.matching("timeout"), 0.6)
        second.let_pass()
        began = time.monotonic()
        assert wire.read_chunk() == b"chunk\n"
        never.wait_arrived()
        record = wait_record(server.log, "request timeout", shows="in meet")
        assert 0.9 <= time.monotonic() - began <= TIMEOUT + scaled(1.5)
        assert record.get("status") is None
        with pytest.raises((BadResponse, ConnectionError)):
            wire.read_chunk()
    wait_until(lambda: not is_alive(old))
    wait_record(server.log, "worker died", reason="timeout")
    server.output.wait_for_line("^0 GET /noted")


def test_a_stream_that_goes_on_within_graceful_timeout_is_whole(stage: Stage) -> None:
    server = serve(stage)
    gate = stage.gate("stuck")
    with server.connect() as wire:
        wire.get("/noted?stuck,stuck")
        gate.wait_arrived()
        gate.let_pass()
        gate.wait_arrived()
        wait_record(server.log, "request timeout")
        gate.let_pass()
        assert wire.read_response().body == b"chunk\nchunk\n"
    close_log(server)
    assert (server.directory / "closed").read_text() == "noted\n"


def test_a_body_whose_first_chunk_is_late_is_closed(stage: Stage) -> None:
    server = serve(stage)
    gate = stage.gate("stuck")
    with server.connect() as wire:
        wire.get("/noted?stuck")
        gate.wait_arrived()
        assert wire.read_response().status == 504
        gate.let_pass()
        wire.wait_closed()
    close_log(server)
    assert (server.directory / "closed").read_text() == "noted\n"


def test_write_fails_once_the_client_was_told(stage: Stage) -> None:
    """As if the client had gone: the app may find out, and leaves no error if it doesn't care."""
    server = serve(stage)
    gate = stage.gate("stuck")
    with server.connect() as wire:
        wire.get("/written?stuck")
        gate.wait_arrived()
        assert wire.read_response().status == 504
        gate.let_pass()
        wire.wait_closed()
    close_log(server)
    assert (server.directory / "written").read_text() == "ConnectionAbortedError\n"


def test_a_request_may_take_more_time(stage: Stage) -> None:
    server = serve(stage, workers=2)
    before = server.workers()
    with server.connect() as long, server.connect() as short:
        long.get("/extended?20,2.5")
        # Less than is left anyway takes nothing away.
        short.get("/extended?0.1,0.7")
        assert short.read_response().body == b"done\n"
        assert long.read_response().body == b"done\n"
    assert server.workers() == before
    assert not server.log.matching("timeout")


def test_a_request_that_took_more_time_is_stuck_when_that_is_over(stage: Stage) -> None:
    server = serve(stage, graceful_timeout=0)
    with server.connect() as wire:
        started = time.monotonic()
        assert wire.get("/extended?2.5,60").read_response().status == 504
        assert 2.5 <= time.monotonic() - started <= 2.5 + scaled(1.5)
    close_log(server)


def test_without_a_timeout_nothing_is_stuck(stage: Stage) -> None:
    server = serve(stage, timeout=0)
    assert server.get("/wait?2").body == b"waited\n"
    assert not server.log.matching("timeout")


def connect_to_each(server: Server) -> list[Wire]:
    """A connection to each worker."""
    workers, wires = set(server.workers()), {}

    def has_each() -> bool:
        wire = server.connect()
        pid = int(wire.get("/pid").read_response().body)
        if wires.setdefault(pid, wire) is not wire:
            wire.close()
        return set(wires) == workers

    wait_until(has_each)
    return list(wires.values())


@pytest.mark.parametrize("threads", [1, 8])
def test_all_workers_stuck_at_a_time(stage: Stage, threads: int) -> None:
    """Each is replaced at once; more of it changes nothing. Whoever comes meanwhile is served."""
    server = serve(stage, workers=2, threads=threads, graceful_timeout=1)
    for _ in range(2):
        old = set(server.workers())
        wires = [wire.get("/hold") for wire in connect_to_each(server)]
        for wire in wires:
            assert wire.read_response().status == 504
            wire.close()
        wait_until(lambda old=old: not old & set(server.workers()), 15)
        wait_until(lambda: len(server.workers()) == 2, 15)
        assert server.get("/hello").status == 200


def test_who_waits_for_the_interpreter_in_a_stuck_worker_gets_503(stage: Stage) -> None:
    """Two that hold the interpreter reach one worker before it is known to be stuck: one is run and
    gets 504; the other was not begun, which 503 says, and can be sent to another server.
    """
    server = serve(
        stage, threads=8, graceful_timeout=1, access_logfile="-", access_logformat="%(s)s %(r)s"
    )
    old = server.worker()
    first, second = server.connect(), server.connect()
    for wire in (first, second):
        assert wire.get("/pid").read_response().body == b"%d\n" % old
    for wire in (first, second):
        wire.get("/hold")
    responses = sorted((wire.read_response() for wire in (first, second)), key=lambda it: it.status)
    assert [response.status for response in responses] == [503, 504]
    assert responses[0].get("Retry-After") == "1"
    assert all(response.closes for response in responses)
    for wire in (first, second):
        wire.wait_closed()
        wire.close()
    record = wait_record(server.log, "worker died", reason="timeout", signal="SIGKILL")
    assert record["requests"].count("GET /hold") == 1
    assert server.log.matching("it had not begun were answered 503 .*count=1")
    server.output.wait_for_line("^503 GET /hold ")
    server.output.wait_for_line("^504 GET /hold")
    assert server.get("/pid").body != b"%d\n" % old


@pytest.mark.parametrize("threads", [1, 8])
def test_a_request_that_graceful_timeout_cuts_short_gets_504(stage: Stage, threads: int) -> None:
    """Its worker was told to leave for another reason, and is killed."""
    server = serve(stage, threads=threads, timeout=60, graceful_timeout=0.3)
    gate = stage.gate("busy")
    with server.connect() as wire:
        wire.get("/meet?busy")
        gate.wait_arrived()
        server.send(signal.SIGHUP)
        response = wire.read_response()
        assert (response.status, response.body) == (504, b"Gateway Timeout\n")
        wire.wait_closed()
    close_log(server, '"graceful timeout"')
    assert not server.log.matching("request lost")


def test_a_stuck_worker_stops_with_the_server(stage: Stage) -> None:
    """One that has been given up already has no more time than the others."""
    server = serve(stage, graceful_timeout=2)
    with server.connect() as wire:
        assert wire.get("/hold").read_response().status == 504
        server.wait_ready(2)
        started = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started <= 2 + scaled(2.0)


def test_a_stopped_worker_is_silent(stage: Stage) -> None:
    """It runs nothing, not even a signal handler: it is killed all the same."""
    server = serve(stage)
    server.allow_log("silent")
    old = server.worker()
    os.kill(old, signal.SIGSTOP)
    record = wait_record(server.log, "worker died", 15, reason="silent", signal="SIGKILL")
    assert record["pid"] == str(old)
    wait_until(lambda: not is_alive(old))
    assert server.get("/hello").status == 200


def test_an_app_that_forks_while_it_is_stuck(stage: Stage) -> None:
    """Its child has the worker's connection and handlers, and answers nobody."""
    (stage.directory / "forking.py").write_text(
        "import os\n"
        "from meeting import meet\n"
        "def app(environ, start_response):\n"
        "    child = os.fork()\n"
        "    meet('child' if child == 0 else 'parent')\n"
        "    if child:\n"
        "        os.waitpid(child, 0)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'late']\n"
    )
    server = stage.serve("forking:app", timeout=TIMEOUT)
    server.allow_log("request timeout", "worker died")
    child, parent = stage.gate("child"), stage.gate("parent")
    with server.connect() as wire:
        wire.get("/")
        child.wait_arrived()
        parent.wait_arrived()
        assert wire.read_response().status == 504
        child.let_pass()
        parent.let_pass()
        wire.wait_closed()
    close_log(server)
