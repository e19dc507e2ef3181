"""What is sent for a file, a directory, and what is neither."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from harness import Server, request
from static.site import BIG, CSS, DATE

pytestmark = pytest.mark.ironhorn("no static files")


def test_a_file(server: Server) -> None:
    response = server.get("/static/site.css?v=1")
    assert (response.status, response.body) == (200, CSS)
    assert response.get("Content-Type") == "text/css; charset=utf-8"
    assert response.get("Content-Length") == str(len(CSS))
    assert response.get("Last-Modified") == DATE
    assert response.get("Accept-Ranges") == "bytes"
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert response.get("Vary") == "Accept-Encoding"
    assert response.get("Content-Encoding") is None
    assert response.get("Cache-Control") is None
    assert (response.get("ETag") or "").startswith('"')


@pytest.mark.parametrize(
    ("name", "media_type", "body"),
    [
        ("photo.png", "image/png", b"\x89PNG"),
        ("a%20b%20%C3%A9.txt", "text/plain; charset=utf-8", b"spaces"),
        ("bare/file", "application/octet-stream", b"no type"),
        ("empty.txt", "text/plain; charset=utf-8", b""),
        ("docs/page.html", "text/html; charset=utf-8", b"<p>page"),
        ("big.bin", "application/octet-stream", BIG),
    ],
)
def test_types(server: Server, name: str, media_type: str, body: bytes) -> None:
    response = server.get(f"/static/{name}")
    assert (response.status, response.get("Content-Type")) == (200, media_type)
    assert response.body == body


def test_head_is_get_without_the_body(server: Server) -> None:
    for name in ("site.css", "big.bin", "docs/"):
        with server.connect() as wire:
            got = wire.get(f"/static/{name}").read_response()
            head = wire.send(request("HEAD", f"/static/{name}")).read_response("HEAD")
            ignored = ("Date",)
            fields = [[f for f in r.fields if f[0] not in ignored] for r in (got, head)]
            assert (head.status, fields[0]) == (200, fields[1])
            assert wire.get("/hello").read_response().body == b"hello\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "TRACE"])
def test_other_methods(server: Server, method: str) -> None:
    with server.connect() as wire:
        for name in ("site.css", "nothing"):
            response = wire.send(request(method, f"/static/{name}", body=b"abc")).read_response()
            assert (response.status, response.get("Allow")) == (405, "GET, HEAD")
        assert wire.get("/hello").read_response().body == b"hello\n"


@pytest.mark.parametrize("fields", [(), ("Expect: 100-continue",)])
def test_a_body_that_nobody_wants_is_not_asked_for(server: Server, fields: tuple[str, ...]) -> None:
    for method, status in [("POST", 405), ("GET", 200)]:
        with server.connect() as wire:
            wire.send(request(method, "/static/site.css", "Content-Length: 5", *fields))
            response = wire.read_response()
            assert (response.status, response.interim, response.closes) == (status, [], True)
            wire.wait_closed()


def test_directories(server: Server) -> None:
    for query in ("", "?a=//b"):
        response = server.get(f"/static/docs{query}")
        assert (response.status, response.get("Location")) == (301, f"/static/docs/{query}")
    assert server.get("/static/docs/").body == b"<p>docs"
    assert server.get("/static/docs/").get("Content-Type") == "text/html; charset=utf-8"
    for without_index in ("bare", "bare/", "", "?"):
        assert server.get(f"/static/{without_index}").status == 404
    assert server.get("/static").status == 404
    assert server.get("/static/site.css/").status == 404
    assert server.get("/static/site.css/more").status == 404


def test_what_is_elsewhere_is_the_apps(server: Server) -> None:
    for target in ("/hello", "/hello?/static/site.css"):
        assert server.get(target).body == b"hello\n"
    for target in ("/statics/site.css", "/Static/site.css", "//static/site.css"):
        assert server.get(target).body != CSS
    assert server.get("http://other.example/static/docs/page.html").body == b"<p>page"
    assert server.get("/%73tatic/docs/page.html").body == b"<p>page"


def test_the_health_path_goes_before(server: Server) -> None:
    assert server.get("/static/health").body == b"ready\n"


def test_what_is_no_regular_file_is_not_there(server: Server, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
        (root / "device").symlink_to("/dev/zero")
        for name in ("fifo", "socket", "device", "fifo/", "fifo/x"):
            assert server.get(f"/static/{name}").status == 404, name
    if os.geteuid() != 0:
        (root / "unreadable").write_text("x")
        (root / "unreadable").chmod(0)
        assert server.get("/static/unreadable").status == 403


def test_a_file_that_is_replaced_is_served_anew(server: Server, root: Path) -> None:
    (root / "changing.txt").write_bytes(b"one")
    first = server.get("/static/changing.txt")
    # It may be written to again before any clock has moved on.
    assert (first.body, (first.get("ETag") or "")[:3]) == (b"one", 'W/"')
    (root / "new").write_bytes(b"two!")
    (root / "new").rename(root / "changing.txt")
    second = server.get("/static/changing.txt", f"If-None-Match: {first.get('ETag')}")
    assert (second.status, second.body) == (200, b"two!")
    (root / "changing.txt").unlink()
    assert server.get("/static/changing.txt").status == 404


def test_connections_are_kept_and_requests_pipelined(server: Server) -> None:
    with server.connect() as wire:
        targets = [
            "/static/site.css",
            "/hello",
            "/static/big.bin",
            "/static/no",
            "/static/site.css",
        ]
        wire.send(b"".join(request("GET", target) for target in targets))
        responses = [wire.read_response() for _ in targets]
        assert [response.body for response in responses] == [
            CSS, b"hello\n", BIG, b"Not Found\n", CSS,
        ]  # fmt: skip
        assert wire.get("/static/site.css", "Connection: close").read_response().closes
        wire.wait_closed()


def test_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        response = wire.send(b"GET /static/big.bin HTTP/1.0\r\n\r\n").read_response()
        assert (response.framing, response.body) == ("length", BIG)
        wire.wait_closed()
