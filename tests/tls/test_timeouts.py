"""A request over `timeout` on an encrypted connection, where no signal handler can answer."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from harness import BadResponse, Stage, is_alive, request, wait_record
from harness.process import scaled
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("its timeout is a heartbeat")

TEXT = b"Gateway Timeout\n"
TIMEOUT = 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("method", "target", "where"),
    [
        ("GET", "/wait?60", r"toolbox\.py\", line \d+ in wait\b"),
        ("HEAD", "/wait?60", r"toolbox\.py\", line \d+ in wait\b"),
        ("GET", "/spin", r"toolbox\.py\", line \d+ in spin\b"),
        ("GET", "/hold", r"toolbox\.py\", line \d+ in hold\b"),
    ],
)
def test_the_client_is_told_when_the_time_is_over(
    stage: Stage,
    certfile: Path,
    authority: Authority,
    threads: int,
    method: str,
    target: str,
    where: str,
) -> None:
    """And not when the app comes back or the worker ends, whatever keeps the app."""
    settings = {"threads": threads, "timeout": TIMEOUT, "graceful_timeout": 60}
    server = stage.serve(certfile=certfile, **settings)
    server.allow_log("request timeout", "worker died")
    old = server.worker()
    with TlsWire(server, authority.context()) as wire:
        started = time.monotonic()
        wire.send(request(method, target))
        response = wire.read_response(method)
        # Ragged ends are errors to this client.
        wire.wait_closed()
        took = time.monotonic() - started
    assert TIMEOUT <= took <= TIMEOUT + scaled(1.0)
    assert (response.status, response.body) == (504, b"" if method == "HEAD" else TEXT)
    assert response.get("Content-Length") == str(len(TEXT))
    assert response.closes
    record = wait_record(server.log, "request timeout", shows=where)
    assert (record["method"], record["path"], record["status"]) == (method, target, "504")
    server.wait_ready(2)
    with TlsWire(server, authority.context()) as other:
        assert other.get("/hello").read_response().status == 200
    assert is_alive(old)
    assert server.stop(signal.SIGQUIT) == 0


@pytest.mark.parametrize(("method", "body"), [("GET", TEXT), ("HEAD", b"")])
def test_one_is_answered_504_and_the_other_served(
    stage: Stage, certfile: Path, authority: Authority, method: str, body: bytes
) -> None:
    settings = {"threads": 2, "timeout": 1, "graceful_timeout": 60}
    log = {"access_logfile": "-", "access_logformat": "%(m)s %(U)s %(s)s"}
    server = stage.serve("crowd:app", certfile=certfile, **settings, **log)
    server.allow_log("request timeout", "worker died")
    extended, stuck = stage.gate("extended"), stage.gate("stuck")
    context = authority.context()
    with TlsWire(server, context) as patient, TlsWire(server, context) as wire:
        patient.get("/extended")
        extended.wait_arrived()
        wire.send(request(method, "/meet?stuck"))
        stuck.wait_arrived()

        response = wire.read_response(method)
        assert (response.status, response.body) == (504, body)
        assert response.get("Content-Length") == str(len(TEXT))
        assert response.closes
        # Ragged ends are errors to this client, and a body after the head of HEAD is one too.
        wire.wait_closed()

        record = wait_record(server.log, "request timeout", shows="in meet")
        assert (record["method"], record["path"]) == (method, "/meet?stuck")
        assert record["status"] == "504"
        server.wait_ready(2)
        with TlsWire(server, context) as other:
            assert other.get("/hello").read_response().status == 200

        extended.let_pass()
        answer = patient.read_response()
        assert (answer.status, answer.body) == (200, b"in time\n")
    stuck.let_pass()
    server.log.wait_for_line(rf"WARN .*response dropped.* method={method} path=/meet\b")
    server.output.wait_for_line(f"^{method} /meet 504$")
    assert len(server.output.matching("/meet")) == 1


def test_the_app_comes_back_in_a_worker_with_one_thread(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    """What it answers is dropped; who waits in the same worker is served, encrypted or not."""
    settings = {"timeout": TIMEOUT, "graceful_timeout": 60}
    log = {"access_logfile": "-", "access_logformat": "%(m)s %(U)s %(s)s"}
    server = stage.serve(certfile=certfile, **settings, **log)
    server.allow_log("request timeout")
    gate = stage.gate("stuck")
    old = server.worker()
    with (
        TlsWire(server, authority.context()) as waiting,
        TlsWire(server, authority.context()) as stuck,
    ):
        assert waiting.get("/pid").read_response().body == b"%d\n" % old
        stuck.get("/meet?stuck")
        gate.wait_arrived()
        waiting.get("/pid")
        assert stuck.read_response().status == 504
        stuck.wait_closed()
        server.wait_ready(2)
        gate.let_pass()
        response = waiting.read_response()
        assert response.body == b"%d\n" % old
        assert response.closes
    server.log.wait_for_line(r"WARN .*response dropped.* method=GET path=/meet\b")
    server.log.wait_for_line(r"exited .*reason=timeout", 15)
    server.output.wait_for_line("^GET /meet 504$")
    assert len(server.output.matching("/meet")) == 1


def test_write_fails_once_the_client_was_told(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    server = stage.serve("stuck:app", certfile=certfile, timeout=TIMEOUT, graceful_timeout=60)
    server.allow_log("request timeout")
    gate = stage.gate("stuck")
    with TlsWire(server, authority.context()) as wire:
        wire.get("/written?stuck")
        gate.wait_arrived()
        assert wire.read_response().status == 504
        gate.let_pass()
        wire.wait_closed()
    server.log.wait_for_line(r"exited .*reason=timeout", 15)
    assert (server.directory / "written").read_text() == "ConnectionAbortedError\n"


def test_an_app_that_forks_while_it_is_stuck(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    """Its child has the connection and its keys, but nobody who would tell the client."""
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
    server = stage.serve("forking:app", certfile=certfile, timeout=TIMEOUT, graceful_timeout=60)
    server.allow_log("request timeout")
    child, parent = stage.gate("child"), stage.gate("parent")
    with TlsWire(server, authority.context()) as wire:
        wire.get("/")
        child.wait_arrived()
        parent.wait_arrived()
        assert wire.read_response().status == 504
        child.let_pass()
        parent.let_pass()
        wire.wait_closed()
    server.log.wait_for_line(r"exited .*reason=timeout", 15)


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_of_what_was_pipelined_is_answered(
    stage: Stage, certfile: Path, authority: Authority, threads: int
) -> None:
    """Behind the 504 the connection ends, whatever was sent; before it, all is answered."""
    server = stage.serve(certfile=certfile, threads=threads, timeout=1, graceful_timeout=60)
    server.allow_log("request timeout")
    gate = stage.gate("stuck")
    with TlsWire(server, authority.context()) as wire:
        targets = ("/hello", "/meet?stuck", "/hello", "/hello")
        wire.send(b"".join(request("GET", target) for target in targets))
        gate.wait_arrived()
        assert wire.read_response().body == b"hello\n"
        assert wire.read_response().status == 504
        gate.let_pass()
        wire.wait_closed()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_has_no_504_in_it(
    stage: Stage, certfile: Path, authority: Authority, threads: int
) -> None:
    """Its head is out: the client sees a body that doesn't end, and the record has no status."""
    settings = {"threads": threads, "timeout": 1, "graceful_timeout": 1}
    server = stage.serve("stuck:app", certfile=certfile, **settings)
    server.allow_log("request timeout", "worker died", "graceful timeout")
    first, never = stage.gate("first"), stage.gate("never")
    with TlsWire(server, authority.context()) as wire:
        wire.get("/noted?first,never")
        first.wait_arrived()
        first.let_pass()
        assert wire.read_head().status == 200
        assert wire.read_chunk() == b"chunk\n"
        never.wait_arrived()
        record = wait_record(server.log, "request timeout", shows="in meet")
        assert record.get("status") is None
        with pytest.raises((BadResponse, OSError)) as failure:
            wire.read_chunk()
        assert "chunk size" not in str(failure.value), "bytes that are no chunk"
    wait_record(server.log, "worker died", reason="timeout")
