"""Preconditions and ranges (RFC 9110 sections 13 and 14) of real files."""

from __future__ import annotations

import pytest
from harness import Server, request
from static.site import BIG, CSS, DATE

pytestmark = pytest.mark.ironhorn("no static files")
TARGET = "/static/site.css"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"


@pytest.fixture
def etag(server: Server) -> str:
    found = server.get(TARGET).get("ETag")
    assert found is not None
    return found


def test_not_modified(server: Server, etag: str) -> None:
    for field in (f"If-None-Match: {etag}", f"If-None-Match: W/{etag}", "If-None-Match: *",
                  f'If-None-Match: "x", {etag}', f"If-Modified-Since: {DATE}",
                  f"If-Modified-Since: {LATER}"):  # fmt: skip
        for method in ("GET", "HEAD"):
            with server.connect() as wire:
                response = wire.send(request(method, TARGET, field)).read_response(method)
                assert response.status == 304, field
                assert (response.get("ETag"), response.get("Vary")) == (etag, "Accept-Encoding")
                assert response.get("Date") is not None
                for absent in ("Content-Length", "Content-Type", "Last-Modified"):
                    assert response.get(absent) is None
                assert wire.get("/hello").read_response().body == b"hello\n"


def test_modified(server: Server, etag: str) -> None:
    for field in ('If-None-Match: "x"', f"If-Modified-Since: {EARLIER}", "If-Modified-Since: x"):
        assert server.get(TARGET, field).status == 200, field
    # The tag decides where there is one.
    fields = ('If-None-Match: "x"', f"If-Modified-Since: {LATER}")
    assert server.get(TARGET, *fields).status == 200


def test_preconditions(server: Server, etag: str) -> None:
    for field in ('If-Match: "x"', f"If-Match: W/{etag}", f"If-Unmodified-Since: {EARLIER}"):
        response = server.get(TARGET, field)
        assert (response.status, response.body) == (412, b""), field
    for field in (f"If-Match: {etag}", "If-Match: *", f"If-Unmodified-Since: {DATE}"):
        assert server.get(TARGET, field).status == 200, field


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, len(BIG) - 1),
        ("bytes=100-199", 100, 199),
        ("bytes=-7", len(BIG) - 7, len(BIG) - 1),
        (f"bytes={len(BIG) - 1}-", len(BIG) - 1, len(BIG) - 1),
        (f"bytes=5-{len(BIG) * 2}", 5, len(BIG) - 1),
        (f"bytes=-{len(BIG) * 2}", 0, len(BIG) - 1),
        ("bytes=1000001-9000000", 1000001, 9000000),
    ],
)
def test_a_range(server: Server, value: str, first: int, last: int) -> None:
    with server.connect() as wire:
        response = wire.get("/static/big.bin", f"Range: {value}").read_response()
        assert response.status == 206
        assert response.get("Content-Range") == f"bytes {first}-{last}/{len(BIG)}"
        assert response.get("Content-Length") == str(last - first + 1)
        assert response.body == BIG[first : last + 1]
        assert wire.get("/hello").read_response().body == b"hello\n"


@pytest.mark.parametrize(
    "value", ["bytes=0-1,3-4", "bytes=5-1", "lines=0-1", "bytes=a-b", "bytes", "bytes=-", "0-1"]
)
def test_what_is_answered_with_the_whole(server: Server, value: str) -> None:
    response = server.get(TARGET, f"Range: {value}")
    assert (response.status, response.body) == (200, CSS)


def test_ranges_that_are_not_there(server: Server) -> None:
    for value in (f"bytes={len(CSS)}-", "bytes=-0", "bytes=99999999999999999999-"):
        response = server.get(TARGET, f"Range: {value}")
        assert (response.status, response.body) == (416, b"")
        assert response.get("Content-Range") == f"bytes */{len(CSS)}"
    assert server.get("/static/empty.txt", "Range: bytes=0-").status == 416
    assert server.get("/static/empty.txt", "Range: bytes=-1").status == 200


def test_if_range(server: Server, etag: str) -> None:
    for value in (etag, DATE):
        response = server.get(TARGET, "Range: bytes=0-3", f"If-Range: {value}")
        assert (response.status, response.body) == (206, CSS[:4])
    for value in ('"x"', f"W/{etag}", EARLIER, LATER):
        response = server.get(TARGET, "Range: bytes=0-3", f"If-Range: {value}")
        assert (response.status, response.body) == (200, CSS)


def test_a_range_is_for_get_and_after_preconditions(server: Server, etag: str) -> None:
    with server.connect() as wire:
        wire.send(request("HEAD", TARGET, "Range: bytes=0-3"))
        assert wire.read_response("HEAD").status == 200
    response = server.get(TARGET, "Range: bytes=0-3", f"If-None-Match: {etag}")
    assert response.status == 304
    assert server.get(TARGET, "Range: bytes=9999-", 'If-Match: "x"').status == 412


def test_a_range_of_what_is_compressed(server: Server) -> None:
    response = server.get(TARGET, "Range: bytes=0-3", "Accept-Encoding: br")
    assert (response.status, response.body) == (206, b"comp")
    assert response.get("Content-Encoding") == "br"
