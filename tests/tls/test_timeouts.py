"""A request over `timeout` on an encrypted connection, where no signal handler can answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import BadResponse, Stage, request, wait_record
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("its timeout is a heartbeat")

TEXT = b"Gateway Timeout\n"


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


def test_nothing_of_what_was_pipelined_is_answered(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    """Behind the 504 the connection ends, whatever was sent; before it, all is answered."""
    server = stage.serve(certfile=certfile, threads=2, timeout=1, graceful_timeout=60)
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


def test_a_stream_has_no_504_in_it(stage: Stage, certfile: Path, authority: Authority) -> None:
    """Its head is out: the client sees a body that doesn't end, and the record has no status."""
    settings = {"threads": 2, "timeout": 1, "graceful_timeout": 1}
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
