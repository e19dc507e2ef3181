"""Certificates of clients, and servers with several names."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from harness import Stage, run_once
from harness.server import Server
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("TLS is set up in another way")


def environ(server: Server, context: ssl.SSLContext, **options: object) -> dict[str, str]:
    with TlsWire(server, context, **options) as wire:
        return json.loads(wire.get("/environ").read_response().body)


def assert_refused(server: Server, context: ssl.SSLContext) -> None:
    """In TLS 1.3 the client's part of the handshake may be done before it learns of it."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        environ(server, context)


@pytest.fixture
def client(authority: Authority) -> Path:
    return authority.issue("client", "alice@example.org", subject="Alice, the first")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return Authority(tmp_path / "elsewhere").issue("stranger", "mallory@example.org")


@pytest.mark.parametrize("word", ["optional", "1"])
def test_optional(
    stage: Stage, authority: Authority, certfile: Path, client: Path, stranger: Path, word: str
) -> None:
    server = stage.serve(certfile=certfile, ca_certs=authority.certfile, cert_reqs=word)
    assert environ(server, authority.context())["SSL_CLIENT_VERIFY"] == "NONE"
    seen = environ(server, authority.context(client))
    assert seen["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert r"CN=Alice\, the first" in seen["SSL_CLIENT_S_DN"]
    shown = ssl.PEM_cert_to_DER_cert(seen["SSL_CLIENT_CERT"])
    assert shown == ssl.PEM_cert_to_DER_cert(client.with_suffix(".crt").read_text())
    assert_refused(server, authority.context(stranger))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_required(
    stage: Stage, authority: Authority, certfile: Path, client: Path, stranger: Path, version: str
) -> None:
    server = stage.serve(certfile=certfile, ca_certs=authority.certfile, cert_reqs="required")
    for identity in (None, stranger):
        context = authority.context(identity)
        context.maximum_version = ssl.TLSVersion[version]
        assert_refused(server, context)
    context = authority.context(client)
    context.maximum_version = ssl.TLSVersion[version]
    assert environ(server, context)["SSL_CLIENT_VERIFY"] == "SUCCESS"


def test_a_resumed_session_knows_its_client(
    stage: Stage, authority: Authority, certfile: Path, client: Path
) -> None:
    server = stage.serve(certfile=certfile, ca_certs=authority.certfile, cert_reqs="required")
    context = authority.context(client)
    with TlsWire(server, context) as wire:
        wire.get("/hello").read_response()
        session = wire.tls.session
    with TlsWire(server, context, session=session) as wire:
        seen = json.loads(wire.get("/environ").read_response().body)
        assert wire.tls.session_reused
    assert r"CN=Alice\, the first" in seen["SSL_CLIENT_S_DN"]


def test_none_asks_nobody(
    stage: Stage, authority: Authority, certfile: Path, stranger: Path
) -> None:
    server = stage.serve(certfile=certfile, ca_certs=authority.certfile)
    assert server.log.matching("WARN .*ca_certs: no effect")
    assert environ(server, authority.context(stranger))["SSL_CLIENT_VERIFY"] == "NONE"


def test_server_names(stage: Stage, authority: Authority, certfile: Path) -> None:
    shop = authority.issue("shop", "shop.example")
    every = authority.issue("every", "*.wild.example")
    server = stage.serve(
        certfile=certfile,
        certificate=[shop, f"{every.with_suffix('.crt')}:{every.with_suffix('.key')}"],
    )
    context = authority.context()
    for name, expected in [
        ("shop.example", "shop.example"),
        ("a.wild.example", "*.wild.example"),
        ("localhost", "localhost"),
    ]:
        with TlsWire(server, context, name=name) as wire:
            assert wire.subject_names() == {expected}
            seen = json.loads(wire.get("/environ").read_response().body)
            assert seen["SSL_TLS_SNI"] == name
    for name in ("other.example", "b.a.wild.example"):
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsWire(server, context, name=name)


def test_a_certificate_without_a_name_can_not_be_asked_for(
    stage: Stage, authority: Authority, certfile: Path
) -> None:
    nameless = authority.issue("nameless", "10.0.0.1")
    flags = [f"--certfile={certfile}", f"--certificate={nameless}"]
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", *flags, "toolbox:app")
    assert done.returncode == 2
    assert "nameless.pem" in done.stderr
    assert "no DNS name" in done.stderr
