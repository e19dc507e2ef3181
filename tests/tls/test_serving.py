"""The app over TLS: requests, bodies and answers as without it, and what the app learns of it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
from harness import Stage, run_once
from harness.process import DEADLINE, scaled, state_of, wait_until
from harness.server import Server
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("TLS is set up in another way")


@pytest.fixture
def server(stage: Stage, certfile: Path) -> Server:
    return stage.serve(certfile=certfile)


def test_https_client(server: Server, authority: Authority) -> None:
    assert server.address is not None
    client = http.client.HTTPSConnection(
        "localhost", server.address[1], context=authority.context(), timeout=scaled(DEADLINE)
    )
    for _ in range(3):
        client.request("GET", "/hello")
        assert client.getresponse().read() == b"hello\n"
    client.close()
    assert server.log.matching(r"listening address=\S*https://")


def test_keep_alive_and_pipelining(server: Server, authority: Authority) -> None:
    with TlsWire(server, authority.context()) as wire:
        assert wire.get("/hello").read_response().body == b"hello\n"
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        for _ in range(50):
            assert wire.read_response().body == b"hello\n"


def test_what_the_app_learns(server: Server, authority: Authority) -> None:
    with TlsWire(server, authority.context()) as wire:
        environ = json.loads(
            wire.get("/environ", "SSL-Client-Verify: SUCCESS").read_response().body
        )
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CIPHER"] in {name["name"] for name in authority.context().get_ciphers()}
    assert environ["SSL_TLS_SNI"] == "localhost"
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_S_DN" not in environ


def test_a_plain_server_says_nothing_of_tls(stage: Stage) -> None:
    environ = json.loads(stage.serve().get("/environ").body)
    assert environ["wsgi.url_scheme"] == "http"
    assert not [key for key in environ if key.startswith("SSL_") or key == "HTTPS"]


def test_big_upload_and_download(server: Server, authority: Authority) -> None:
    body = bytes(range(251)) * 40_000
    with TlsWire(server, authority.context()) as wire:
        for _ in range(2):
            wire.send(
                f"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            wire.send(body)
            digest = hashlib.sha256(body).hexdigest()
            assert wire.read_response().body == f"{len(body)} {digest}".encode()
            assert len(wire.get("/big?3000000").read_response().body) == 3_000_000


def test_streaming_arrives_as_it_is_made(
    stage: Stage, server: Server, authority: Authority
) -> None:
    gate = stage.gate("stream")
    with TlsWire(server, authority.context()) as wire:
        wire.get("/stream?2")
        gate.wait_arrived()
        gate.let_pass()
        wire.read_head()
        assert wire.read_chunk() == b"chunk 0\n"
        gate.let_pass()
        assert wire.read_chunk() == b"chunk 1\n"
        assert wire.read_chunk() == b""


def test_file_wrapper(stage: Stage, certfile: Path, authority: Authority) -> None:
    content = bytes(range(256)) * 20_000
    (stage.directory / "file").write_bytes(content)
    server = stage.serve("pep3333:app", certfile=certfile)
    with TlsWire(server, authority.context()) as wire:
        for _ in range(2):
            assert wire.get("/file").read_response().body == content


def test_under_wsgiref_validate(stage: Stage, certfile: Path, authority: Authority) -> None:
    (stage.directory / "file").write_bytes(b"content")
    server = stage.serve("pep3333:app", certfile=certfile)
    with TlsWire(server, authority.context()) as wire:
        for name in ("one_item_list", "two_items", "write", "counted", "file", "file_in_memory"):
            plain = wire.get(f"/{name}").read_response()
            checked = wire.get(f"/valid/{name}").read_response()
            assert (checked.status, checked.body) == (200, plain.body), name


def test_an_early_close_is_told_to_a_stream(
    stage: Stage, server: Server, authority: Authority
) -> None:
    wire = TlsWire(server, authority.context(), receive_buffer=4096)
    wire.get("/endless").read_head()
    wire.close()
    wait_until((stage.directory / "closed").exists, what="close() runs")
    with TlsWire(server, authority.context()) as other:
        assert other.get("/hello").read_response().status == 200


def test_the_end_of_an_answer_is_said(server: Server, authority: Authority) -> None:
    with TlsWire(server, authority.context()) as wire:
        wire.send(b"GET /chunks?3 HTTP/1.0\r\n\r\n")
        # Ragged ends are errors to this client.
        assert wire.read_response().body == b"chunk 0\nchunk 1\nchunk 2\n"


def test_both_versions_and_a_minimum(stage: Stage, certfile: Path, authority: Authority) -> None:
    old = authority.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    server = stage.serve(certfile=certfile)
    for context, version in ((old, "TLSv1.2"), (authority.context(), "TLSv1.3")):
        with TlsWire(server, context) as wire:
            environ = json.loads(wire.get("/environ").read_response().body)
            assert (wire.tls.version(), environ["SSL_PROTOCOL"]) == (version, version)
            assert wire.tls.cipher()[0] == environ["SSL_CIPHER"]
    strict = stage.serve(certfile=certfile, tls_min_version="1.3")
    with pytest.raises(ssl.SSLError, match="version"):
        TlsWire(strict, old)
    with TlsWire(strict, authority.context()) as wire:
        assert wire.get("/hello").read_response().status == 200


def test_named_ciphers(stage: Stage, certfile: Path, authority: Authority) -> None:
    context = authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
        server = stage.serve(certfile=certfile, ciphers=cipher)
        with TlsWire(server, context) as wire:
            assert wire.tls.cipher()[0] == cipher


def test_alpn(server: Server, authority: Authority) -> None:
    context = authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with TlsWire(server, context) as wire:
        assert wire.tls.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        TlsWire(server, context)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_are_resumed_by_any_worker(
    stage: Stage, certfile: Path, authority: Authority, version: str
) -> None:
    server = stage.serve(certfile=certfile, workers=2)
    context = authority.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    def served_by(session: ssl.SSLSession | None) -> tuple[int, ssl.SSLSession | None]:
        with TlsWire(server, context, session=session) as wire:
            pid = int(wire.get("/pid").read_response().body)
            assert wire.tls.session_reused == (session is not None)
            return pid, wire.tls.session

    first, session = served_by(None)
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: state_of(first) == "T", what="the worker is stopped")
    for _ in range(2):
        pid, session = served_by(session)
        assert pid != first
    os.kill(first, signal.SIGCONT)


def test_curl_and_openssl(server: Server, authority: Authority) -> None:
    assert server.address is not None
    port = server.address[1]
    url = f"https://localhost:{port}/hello"
    resolve = f"localhost:{port}:127.0.0.1"
    for extra in ([], ["--http1.0"], ["--tls-max", "1.2"]):
        done = subprocess.run(
            ["curl", "-sS", "--cacert", authority.certfile, "--resolve", resolve, *extra, url],
            capture_output=True,
            timeout=scaled(DEADLINE),
        )
        assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    asks = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]
    done = subprocess.run(
        [*asks, "-CAfile", authority.certfile, "-verify_return_error", "-quiet"],
        input=b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        capture_output=True,
        timeout=scaled(DEADLINE),
    )
    assert done.stdout.endswith(b"hello\n"), done.stderr


def test_a_unix_socket_speaks_what_is_written(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    server = stage.serve(
        bind=None,
        certfile=certfile,
        ready=True,
        config="bind: ['unix:plain', 'https://unix:secure']\n",
    )
    server.address = str(stage.directory / "plain")
    assert server.get("/hello").status == 200
    server.address = str(stage.directory / "secure")
    with TlsWire(server, authority.context()) as wire:
        environ = json.loads(wire.get("/environ").read_response().body)
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SERVER_PORT"] == "443"


def test_ctl_says_what_is_spoken(server: Server, stage: Stage) -> None:
    done = run_once(stage, "ctl", "status")
    assert "https://" in done.stdout, done.stdout
