"""A request over `timeout` on an encrypted connection, where no signal handler can answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Stage, request, wait_record
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
