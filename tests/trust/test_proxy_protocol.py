"""Connections that begin with a header of the PROXY protocol."""

from __future__ import annotations

import json
import re
import socket
import struct

import pytest
from harness import Server, Stage, Wire, request, wait_until

pytestmark = pytest.mark.ironhorn("Gunicorn loses it at the second request")

STRANGER = "127.0.0.2"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
V1_6 = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n"
ASK = request("GET", "/environ")


def v2(command: int, family: int, block: bytes = b"", *tlvs: tuple[int, bytes]) -> bytes:
    block += b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(block)) + block


def inet(client: str, server: str) -> bytes:
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    addresses = (socket.inet_pton(family, address) for address in (client, server))
    return b"".join(addresses) + struct.pack("!HH", 4711, 443)


V2 = v2(1, 0x11, inet("203.0.113.9", "198.51.100.1"), (0x04, b"\0" * 40), (0xEA, b"vpce-1"))
V2_6 = v2(1, 0x21, inet("2001:db8::9", "2001:db8::1"))
HEADERS = pytest.mark.parametrize("header", [V1, V2, V1_6, V2_6], ids=["v1", "v2", "v1-6", "v2-6"])


def answers(wire: Wire, count: int) -> list[dict[str, object]]:
    responses = [wire.read_response() for _ in range(count)]
    assert {response.status for response in responses} == {200}
    return [json.loads(response.body) for response in responses]


@HEADERS
@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_it_holds_for_every_request_of_the_connection(
    stage: Stage, bind: str, header: bytes
) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(
        bind=bind, proxy_protocol=True, access_logfile=log, access_logformat="%(h)s"
    )
    six = header in (V1_6, V2_6)
    client, there = ("2001:db8::9", "2001:db8::1") if six else ("203.0.113.9", "198.51.100.1")
    with server.connect() as wire:
        # The header, a request and half of another one in one piece.
        seen = answers(wire.send(header + ASK + ASK[:9]), 1)
        seen += answers(wire.send(ASK[9:]), 1)
        seen += answers(wire.send(ASK), 1)
    for environ in seen:
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (client, "4711")
        assert environ["PROXY_PROTOCOL"] == ("TCP6" if six else "TCP4")
        assert (environ["PROXY_ADDR"], environ["PROXY_PORT"]) == (there, "443")
        assert environ["ironhorn.peer_addr"] == ("" if bind == "unix" else "127.0.0.1")
        assert environ["wsgi.url_scheme"] == "http"
    wait_until(lambda: log.read_text() == f"{client}\n" * 3, what="the access lines")


@HEADERS
def test_byte_by_byte(stage: Stage, header: bytes) -> None:
    server = stage.serve(proxy_protocol="auto")
    with server.connect() as wire:
        for byte in header + ASK:
            wire.send(bytes([byte]))
        assert answers(wire, 1)[0]["REMOTE_PORT"] == "4711"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN 203.0.113.9 junk\r\n", "127.0.0.1"),
        (v2(0, 0x00), "127.0.0.1"),
        (v2(0, 0x11, inet("203.0.113.9", "198.51.100.1")), "127.0.0.1"),
        (v2(1, 0x00), "127.0.0.1"),
        (v2(1, 0x31, b"/client".ljust(216, b"\0")), ""),
    ],
    ids=["UNKNOWN", "UNKNOWN with more", "LOCAL", "LOCAL with more", "UNSPEC", "UNIX"],
)
def test_clients_without_an_address(stage: Stage, header: bytes, address: str) -> None:
    server = stage.serve(proxy_protocol="auto")
    https = request("GET", "/environ", "X-Forwarded-Proto: https")
    with server.connect() as wire:
        for environ in answers(wire.send(header + https + https), 2):
            assert environ["REMOTE_ADDR"] == address
            assert "PROXY_PROTOCOL" not in environ
            # The proxy's own word counts; whose word it only passes on isn't known.
            local = header.startswith(SIGNATURE + b"\x20")
            assert environ["wsgi.url_scheme"] == ("https" if local else "http")


def test_the_client_is_trusted_only_if_it_is_listed(stage: Stage) -> None:
    server = stage.serve(
        proxy_protocol="auto", forwarded_allow_ips="127.0.0.1,203.0.113.0/28", forwarded_for="on"
    )
    fields = ("X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7")
    for last, seen in ((9, ("https", "192.0.2.7")), (16, ("http", "203.0.113.16"))):
        header = V1.replace(b".113.9", b".113.%d" % last)
        with server.connect() as wire:
            environ = answers(wire.send(header + request("GET", "/environ", *fields)), 1)[0]
        assert (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]) == seen


def test_tls_at_the_proxy(stage: Stage) -> None:
    server = stage.serve(proxy_protocol="v2")
    block = inet("203.0.113.9", "198.51.100.1")
    for client, scheme in ((b"\x01", "https"), (b"\x00", "http")):
        header = v2(1, 0x11, block, (0x20, client + b"\0\0\0\0" + b"\x21\0\x07TLSv1.3"))
        with server.connect() as wire:
            assert answers(wire.send(header + ASK), 1)[0]["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize(
    ("mode", "sent", "reason"),
    [
        ("auto", ASK, "no PROXY header where one is required"),
        ("auto", b"\x16\x03\x01\x02\x00\x01", "no PROXY header where one is required"),
        ("v1", V2, "of a version that proxy_protocol does not allow"),
        ("v2", V1, "of a version that proxy_protocol does not allow"),
        ("v1", b"PROXY TCP4 203.0.113.9 198.51.100.1 4711\r\n", "malformed PROXY line"),
        ("v1", b"PROXY TCP4 " + b"1" * 200, "PROXY header is too long"),
        ("v2", v2(1, 0x11, b"short"), "cut short"),
        ("v2", v2(1, 0x11, inet("203.0.113.9", "198.51.100.1"), (3, b"\0" * 4)), "checksum"),
    ],
)
def test_a_proxy_has_to_send_a_valid_one(stage: Stage, mode: str, sent: bytes, reason: str) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(
        proxy_protocol=mode,
        log_level="debug",
        access_logfile=log,
        access_logformat="%(h)s %(s)s",
    )
    with server.connect() as wire:
        response = wire.send(sent).read_response()
        assert response.status == 400
        assert response.closes
        assert reason in response.body.decode()
        wire.wait_closed()
    server.log.wait_for_line(f"DEBUG .*connection refused.*{reason}")
    wait_until(lambda: log.read_text() == "127.0.0.1 400\n", what="the access line")


def test_a_stranger_is_served_without_and_refused_with_one(stage: Stage) -> None:
    server = stage.serve(proxy_protocol="auto")
    assert server.address is not None
    with Wire(server.address, source=STRANGER) as wire:
        assert answers(wire.send(ASK), 1)[0]["REMOTE_ADDR"] == STRANGER
    for header in (V1, V2):
        with Wire(server.address, source=STRANGER) as wire:
            response = wire.send(header + ASK).read_response()
            assert (response.status, response.closes) == (400, True)
            assert b"proxy_allow_from" in response.body
    named = stage.serve(proxy_protocol="auto", proxy_allow_from="127.0.0.2/31")
    assert named.address is not None
    with Wire(named.address, source=STRANGER) as wire:
        assert answers(wire.send(V1 + ASK), 1)[0]["REMOTE_ADDR"] == "203.0.113.9"


def test_switched_off_it_is_explained(stage: Stage) -> None:
    server = stage.serve()
    with server.connect() as wire:
        response = wire.send(V1 + ASK).read_response()
    assert response.status == 400
    assert b"proxy_protocol" in response.body


@pytest.mark.alone
@pytest.mark.parametrize("part", [b"", V1[:20], V2[:20], V1, V1 + ASK[:20]])
def test_it_has_the_time_of_a_head(stage: Stage, part: bytes) -> None:
    server = stage.serve(proxy_protocol="auto", header_timeout=0.3)
    with server.connect() as wire:
        wire.send(part)
        rest = wire.read_to_end()
    assert not rest or re.match(rb"HTTP/1.1 408 ", rest)
    assert bool(rest) is (part == V1 + ASK[:20])


def test_who_says_nothing_leaves_nothing(stage: Stage) -> None:
    """As load balancers check whether a port is open."""
    server = stage.serve(proxy_protocol="auto", log_level="debug")
    for part in (b"", V2[:20]):
        with server.connect() as wire:
            wire.send(part).half_close()
            assert wire.read_to_end() == b""
    with server.connect() as wire:
        wire.send(V2[:20]).reset()
    assert_serves(server)


def assert_serves(server: Server) -> None:
    with server.connect() as wire:
        answers(wire.send(V1 + ASK), 1)


def test_the_flag_leaves_the_app_alone(stage: Stage) -> None:
    server = stage.serve(None, "--proxy-protocol", "toolbox:app")
    assert_serves(server)
    server = stage.serve(None, "--proxy-protocol", "v2", "toolbox:app")
    with server.connect() as wire:
        assert wire.send(V1 + ASK).read_response().status == 400
