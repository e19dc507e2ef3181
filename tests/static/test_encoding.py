"""Files that lie compressed beside themselves."""

from __future__ import annotations

import pytest
from harness import Server
from static.site import CSS

pytestmark = pytest.mark.ironhorn("no static files")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("gzip;q=1, br;q=0.9", "gzip"),
        ("br;q=0, *", "zstd"),
        ("*", "br"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("deflate", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("", None),
    ],
)
def test_negotiation(server: Server, accepted: str, coding: str | None) -> None:
    response = server.get("/static/site.css", f"Accept-Encoding: {accepted}")
    suffix = {"br": b".br", "gzip": b".gz", "zstd": b".zst", None: None}[coding]
    assert response.status == 200
    assert response.get("Content-Encoding") == coding
    assert response.body == (CSS if suffix is None else b"compressed" + suffix)
    assert response.get("Content-Type") == "text/css; charset=utf-8"
    assert response.get("Vary") == "Accept-Encoding"


def test_each_form_has_a_tag_of_its_own(server: Server) -> None:
    tags = {
        coding: server.get("/static/site.css", f"Accept-Encoding: {coding}").get("ETag")
        for coding in ("br", "gzip", "zstd", "identity")
    }
    assert len(set(tags.values())) == 4
    response = server.get(
        "/static/site.css", "Accept-Encoding: br", f"If-None-Match: {tags['gzip']}"
    )
    assert response.status == 200
    response = server.get("/static/site.css", "Accept-Encoding: br", f"If-None-Match: {tags['br']}")
    assert (response.status, response.get("Content-Encoding")) == (304, None)


def test_only_what_is_there_is_sent(server: Server) -> None:
    response = server.get("/static/only-gzip.js", "Accept-Encoding: br, gzip;q=0.5")
    assert (response.get("Content-Encoding"), response.body) == ("gzip", b"zipped")
    response = server.get("/static/only-gzip.js", "Accept-Encoding: br")
    assert (response.get("Content-Encoding"), response.body) == (None, b"plain")
    response = server.get("/static/only-gzip.js", "Accept-Encoding: br, identity;q=0")
    assert (response.status, response.get("Vary")) == (406, "Accept-Encoding")


def test_what_is_compressed_already_is_not_looked_for(server: Server) -> None:
    response = server.get("/static/photo.png", "Accept-Encoding: gzip")
    assert (response.get("Content-Encoding"), response.get("Vary")) == (None, None)


def test_a_compressed_file_by_its_own_name(server: Server) -> None:
    response = server.get("/static/site.css.gz", "Accept-Encoding: gzip, br")
    assert (response.get("Content-Type"), response.get("Content-Encoding")) == (
        "application/gzip",
        None,
    )
