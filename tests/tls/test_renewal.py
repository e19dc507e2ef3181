"""Certificates that are renewed, missing, broken, or about to expire."""

from __future__ import annotations

import re
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from harness import Stage, run_once
from harness.load import Load
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("TLS is set up in another way")


def test_a_renewed_certificate_under_load(
    stage: Stage, authority: Authority, certfile: Path
) -> None:
    server = stage.serve(certfile=certfile, workers=2)
    context = authority.context()
    kept = TlsWire(server, context)
    assert kept.get("/hello").read_response().status == 200
    assert server.address is not None
    with Load(
        server.address, keep_alive=4, one_request=4, connect=lambda: TlsWire(server, context)
    ) as load:
        load.wait_more(50)
        authority.issue("server", "localhost", "127.0.0.1", "renewed.example")
        server.send(signal.SIGHUP)
        # The connection of before gets its answer from the worker that it has.
        assert kept.get("/hello").read_response().status == 200
        server.log.wait_for_line("reloaded")
        load.wait_more(50)
    load.report.assert_none_failed()
    with TlsWire(server, context) as wire:
        assert wire.subject_names() == {"localhost", "renewed.example"}
    kept.close()


def test_sessions_go_on_after_a_renewal_but_not_with_other_rules(
    stage: Stage, authority: Authority
) -> None:
    authority.issue("server", "localhost")
    client = authority.issue("client", "alice@example.org")
    configuration = stage.directory / "ironhorn.yaml"
    rules = "certfile: server.pem\n"
    server = stage.serve(config=rules)
    context = authority.context(client)

    def resumes(session: object) -> tuple[bool, object]:
        with TlsWire(server, context, session=session) as wire:
            wire.get("/hello").read_response()
            return wire.tls.session_reused, wire.tls.session

    _, session = resumes(None)
    server.reload()
    reused, session = resumes(session)
    assert reused
    configuration.write_text(rules + "ca_certs: ca.pem\ncert_reqs: required\n")
    server.reload()
    reused, session = resumes(session)
    assert not reused, "a client that has shown no certificate was taken for one that has"


def test_a_broken_certificate_at_a_reload(
    stage: Stage, authority: Authority, certfile: Path
) -> None:
    server = stage.serve(certfile=certfile)
    server.allow_log("reload failed")
    other = authority.issue("other", "localhost")
    context = authority.context()
    for content, said in [
        (b"nonsense", "server.pem: no certificate in it"),
        (
            other.with_suffix(".key").read_bytes() + certfile.with_suffix(".crt").read_bytes(),
            "server.pem: the private key is not the certificate's",
        ),
        (None, "cannot read .*server.pem"),
    ]:
        certfile.unlink()
        if content is not None:
            certfile.write_bytes(content)
        mark = server.log.mark()
        server.send(signal.SIGHUP)
        server.log.wait_for_line(f"reload failed .*{said}", since=mark)
        with TlsWire(server, context) as wire:
            assert wire.get("/hello").read_response().status == 200
        certfile.touch()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--certfile=none.pem"], "certfile: cannot read none.pem: No such file"),
        (["--certfile=ca.pem"], "certfile: ca.pem: no private key in it"),
        (["--certfile=server.key"], "certfile: server.key: no certificate in it"),
        (
            ["--certfile=server.crt", "--keyfile=other.key"],
            "keyfile: other.key: the private key is",
        ),
        (
            ["--certfile=server.pem", "--ca-certs=server.key", "--cert-reqs=2"],
            "ca_certs: server.key",
        ),
        (["--certfile=server.pem", "--cert-reqs=required"], "cert_reqs: needs ca_certs"),
        (["--keyfile=server.key"], "keyfile: needs certfile"),
        (["--bind=https://127.0.0.1:0"], "bind: https://127.0.0.1:0 needs certfile"),
        (["--bind=redirect://127.0.0.1:0"], "bind: redirect://127.0.0.1:0 needs certfile"),
        (["--certfile=server.pem", "--bind=http://127.0.0.1:0"], "HTTPS is spoken nowhere"),
        (["--certfile=server.pem", "--ciphers=HIGH"], 'found "HIGH"'),
    ],
)
@pytest.mark.parametrize("check", [["--check-config"], []])
def test_what_is_wrong_is_a_matter_of_configuration(
    stage: Stage, authority: Authority, flags: list[str], said: str, check: list[str]
) -> None:
    authority.issue("server", "localhost")
    authority.issue("other", "localhost")
    bind = [] if any("--bind" in flag for flag in flags) else ["--bind=127.0.0.1:0"]
    done = run_once(stage, *check, *bind, *flags, "toolbox:app")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "PRIVATE KEY-" not in done.stderr


@pytest.mark.parametrize(
    ("days", "said"),
    [(-1, "has expired"), (3, r"expires in 2 days"), (20, None)],
)
def test_expiry(stage: Stage, authority: Authority, days: int, said: str | None) -> None:
    until = datetime.now(timezone.utc) + timedelta(days=days)
    certfile = authority.issue("server", "localhost", until=until)
    done = run_once(
        stage, "--check-config", "--bind=127.0.0.1:0", f"--certfile={certfile}", "toolbox:app"
    )
    assert done.returncode == 0, done.stderr
    server = stage.serve(certfile=certfile)
    for told in (done.stderr, server.log.text()):
        found = re.search(r"server\.pem: the certificate (.*)", told)
        assert (found is None) == (said is None), told
        assert found is None or re.match(said or "", found[1]), told
