"""What isn't TLS where it should be, TLS where it shouldn't, and handshakes that never end."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Stage
from harness.process import DEADLINE, scaled
from harness.wire import Wire
from tls.certificates import Authority, TlsWire

pytestmark = pytest.mark.ironhorn("TLS is set up in another way")


def hello() -> bytes:
    """The first thing that a client says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_http_on_the_port_for_https(stage: Stage, certfile: Path, authority: Authority) -> None:
    server = stage.serve(certfile=certfile, access_logfile="-", log_level="debug")
    response = server.get("/hello")
    assert response.status == 400
    assert b"speaks HTTPS" in response.body
    server.output.wait_for_line(r'"GET /hello HTTP/1.1" 400')
    server.log.wait_for_line("DEBUG .*HTTP without TLS")
    with TlsWire(server, authority.context()) as wire:
        assert wire.get("/hello").read_response().status == 200


def test_https_on_the_port_for_http(stage: Stage) -> None:
    server = stage.serve(access_logfile="-", log_level="debug")
    with server.connect() as wire:
        response = wire.send(hello()).read_response()
        assert (response.status, response.body) == (400, b"this port speaks HTTP without TLS\n")
        wire.wait_closed()
    server.output.wait_for_line(" 400 ")
    server.log.wait_for_line("DEBUG .*TLS on a port for HTTP")
    assert server.get("/hello").status == 200


def test_garbage_is_no_error_of_the_server(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    server = stage.serve(certfile=certfile)
    greeting = hello()
    for garbage in (b"\0" * 100, b"\x16\x03\x01" + b"\xff" * 2000, greeting[:-5] + b"\xff" * 500):
        with server.connect() as wire:
            wire.send_what_fits(garbage)
            wire.half_close()
            with suppress(ConnectionError):
                wire.read_to_end()
    with TlsWire(server, authority.context()) as wire:
        assert wire.get("/hello").read_response().status == 200
    assert not server.log.matching(" (WARN|ERROR) "), server.log.text()


def test_half_a_hello_costs_a_connection_and_no_worker(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    server = stage.serve(certfile=certfile, handshake_timeout=2)
    greeting = hello()
    stuck = [server.connect() for _ in range(50)]
    for wire in stuck[1:]:
        wire.send(greeting[: len(greeting) // 2])
    context = authority.context()
    for _ in range(10):
        with TlsWire(server, context) as wire:
            assert wire.get("/hello").read_response().status == 200
    for wire in stuck:
        wire.wait_closed()
        wire.close()


def test_a_worker_over_its_time_says_nothing_in_plain_text(
    stage: Stage, certfile: Path, authority: Authority
) -> None:
    server = stage.serve(certfile=certfile, timeout=1, graceful_timeout=1)
    server.allow_log("request timeout", "graceful timeout", "worker died")
    raw = socket.create_connection(server.address, scaled(DEADLINE))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    received = b""

    def pump() -> bool:
        nonlocal received
        raw.sendall(outgoing.read())
        data = raw.recv(65536)
        received += data
        incoming.write(data)
        return bool(data)

    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            pump()
    client.write(b"GET /wait?600 HTTP/1.1\r\nHost: a\r\n\r\n")
    with suppress(ConnectionError):
        while pump():
            pass
    raw.close()
    assert b"HTTP/1.1" not in received
    server.log.wait_for_line("request timeout")


def test_redirect(stage: Stage, certfile: Path) -> None:
    server = stage.serve(
        bind=None, certfile=certfile, config="bind: ['redirect://127.0.0.2:0', '127.0.0.1:0']\n"
    )
    ports = [
        int(found[1])
        for scheme in ("redirect", "https")
        if (found := re.search(rf"{scheme}://127\.0\.0\.\d:(\d+)", server.log.text()))
    ]
    server.address = ("127.0.0.2", ports[0])
    with server.connect() as wire:
        for target in ("/", "/a%20b?c=d"):
            response = wire.get(target).read_response()
            assert response.status == 308
            # The Host of the harness's requests, without its port.
            location = response.get("Location")
            assert location is not None
            assert location.endswith(f":{ports[1]}{target}")
            assert location.startswith("https://")
    with Wire(server.address) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: evil.example/x\r\n\r\n")
        assert wire.read_response().status == 400
        wire.wait_closed()
    there = ["--connect-to", f"localhost:{ports[0]}:127.0.0.2:{ports[0]}"]
    trust = ["--cacert", stage.directory / "ca.pem", *there]
    done = subprocess.run(
        ["curl", "-sS", "-L", *trust, "--data", "body", f"http://localhost:{ports[0]}/echo"],
        capture_output=True,
        timeout=scaled(DEADLINE),
    )
    assert (done.returncode, done.stdout) == (0, b"body"), done.stderr


@pytest.mark.alone
def test_the_handshake_timeout_is_kept(stage: Stage, certfile: Path) -> None:
    server = stage.serve(certfile=certfile, handshake_timeout=1)
    with server.connect() as wire:
        began = time.monotonic()
        wire.send(hello()[:20]).wait_closed()
        assert 0.9 < time.monotonic() - began < 3
