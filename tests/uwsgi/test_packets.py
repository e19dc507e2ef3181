"""The uwsgi protocol byte by byte, without a proxy."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import yaml
from harness import Server, Stage, run_once
from harness.packet import Variable, packed, packet

pytestmark = pytest.mark.ironhorn("Gunicorn answers hostile packets otherwise")

CORPUS = Path(__file__).parent.parent / "requests" / "uwsgi"
GET: list[Variable] = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/hello")]


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return shared_stage.serve(protocol="uwsgi")


def test_one_request_a_connection(server: Server) -> None:
    with server.connect() as wire:
        response = wire.send(packet("GET", "/hello") * 2).read_response()
        assert (response.status, response.body, response.framing) == (200, b"hello\n", "length")
        assert response.closes
        wire.wait_closed()


def test_a_body_is_ended_by_the_connection(server: Server) -> None:
    with server.connect() as wire:
        response = wire.send(packet("GET", "/chunks?3")).read_response()
        assert (response.body, response.framing) == (b"chunk 0\nchunk 1\nchunk 2\n", "close")


def test_a_client_that_nginx_tells_of(server: Server) -> None:
    with server.connect() as wire:
        wire.send(packet("GET", "/environ", ("SERVER_PROTOCOL", "HTTP/3.0"), ("HTTPS", "on")))
        environ = json.loads(wire.read_response().body)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.7", "40000")
    assert (environ["SERVER_PROTOCOL"], environ["wsgi.url_scheme"]) == ("HTTP/3.0", "https")


HOSTILE = {
    "no variables": (packed([]), 400),
    "lies about its size, short": (packed(GET, size=20), 400),
    "lies about its size, long": (packed(GET, size=60) + b"\xff" * 20, 400),
    "65535 bytes of 0xff": (b"\0\xff\xff\0" + b"\xff" * 65535, 400),
    "65535 bytes of empty names": (b"\0\xff\xff\0" + b"\0" * 65535, 400),
    "no method": (packed(GET[1:]), 400),
    "length twice": (packed([*GET, ("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]), 400),
    "a field in a field": (packed([*GET, ("HTTP_A", "b\r\nContent-Length: 5")]), 400),
    "a request in a URI": (packed([GET[0], ("REQUEST_URI", "/ HTTP/1.1\r\n\r\nGET /")]), 400),
    "too many variables": (packed([*GET, *[("A", "")] * 2000]), 431),
    "too many fields": (packed([*GET, *[("HTTP_A", "")] * 101]), 431),
    "a long field": (packed([*GET, ("HTTP_A", "x" * 9000)]), 431),
    "a long URI": (packed([GET[0], ("REQUEST_URI", "/" + "x" * 9000)]), 414),
    "another modifier": (packed(GET, modifier1=9), 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(server: Server, name: str) -> None:
    data, status = HOSTILE[name]
    with server.connect() as wire:
        response = wire.send(data).read_response()
        assert response.status == status
        assert response.closes
        wire.wait_closed()
    with server.connect() as wire:
        assert wire.send(packet("GET", "/hello")).read_response().status == 200


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.uwsgi")), ids=lambda path: path.stem)
def test_corpus(server: Server, path: Path) -> None:
    expected = path.with_suffix(".expect").read_text()
    with server.connect() as wire:
        wire.send(path.read_bytes())
        wire.half_close()
        if "incomplete" in expected:
            wire.wait_closed()
            return
        refused = re.search(r"^refusal: \w+ (\d+)$", expected, re.MULTILINE)
        status = wire.read_response().status
        assert status == int(refused[1]) if refused else status in (200, 404)


def test_a_packet_cut_short_costs_nothing(server: Server) -> None:
    data = packet("POST", "/echo", body=b"hello")
    for end in range(0, len(data), 7):
        with server.connect() as wire:
            wire.send(data[:end])
    with server.connect() as wire:
        assert wire.send(data).read_response().body == b"hello"


def test_http_is_told_where_to_go(stage: Stage) -> None:
    server = stage.serve(protocol="uwsgi", log_level="debug")
    response = server.get("/hello")
    assert response.status == 400
    assert b"use uwsgi_pass in nginx" in response.body
    server.log.wait_for_line("DEBUG.*request refused.*the uwsgi protocol is spoken here")


def test_strangers_are_cut_off(stage: Stage) -> None:
    server = stage.serve(protocol="uwsgi", uwsgi_allow_from="10.0.0.0/8,::1", log_level="debug")
    for count in (1, 2):
        with server.connect() as wire:
            wire.wait_closed()
        server.log.wait_for_line(rf"DEBUG.*uwsgi_allow_from.*\bcount={count}\b")


def test_both_protocols_beside_each_other(stage: Stage) -> None:
    path = stage.directory / "uwsgi.sock"
    server = stage.serve(config=f"bind:\n- uwsgi: unix:{path}\n- unix:{path}.http\n", bind=None)
    server.leaves_nothing_at.append(path)
    server.address = f"{path}.http"
    assert server.get("/hello").status == 200
    server.address = str(path)
    with server.connect() as wire:
        assert wire.send(packet("GET", "/hello")).read_response().body == b"hello\n"
    # The listener stays, what is spoken there changes.
    swapped = f"bind:\n- unix:{path}\n- uwsgi: unix:{path}.http\n"
    (stage.directory / "ironhorn.yaml").write_text(swapped)
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b")
    assert server.get("/hello").status == 200


def test_settings_of_gunicorn(stage: Stage) -> None:
    (stage.directory / "gunicorn.conf.py").write_text(
        "protocol = 'uwsgi'\nuwsgi_allow_ips = '127.0.0.1,10.0.0.0/8'\nbind = '127.0.0.1:0'\n"
    )
    done = run_once(stage, "--print-config", "toolbox:app")
    settings = yaml.safe_load(done.stdout)
    assert settings["protocol"] == "uwsgi"
    assert settings["uwsgi_allow_from"] == ["127.0.0.1", "10.0.0.0/8"]
    assert done.stderr == ""


def test_a_mistake_in_the_file_is_told(stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text("bind:\n- uwsig: 127.0.0.1:0\n")
    done = run_once(stage, "--check-config", "toolbox:app")
    assert done.returncode == 2
    assert 'ironhorn.yaml:2: bind: uwsig: unknown protocol, did you mean "uwsgi"?' in done.stderr
