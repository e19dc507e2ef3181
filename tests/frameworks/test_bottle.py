"""The Bottle app: pages, and a stream read as it is made."""

from __future__ import annotations

import pytest
from frameworks.example import Pace
from frameworks.ways import Way, every_way

pytestmark = pytest.mark.frameworks


@every_way
def test_pages(example: Way) -> None:
    browser = example.serve("bottle_app").browser()
    assert browser.get("/").text == "Hello from Bottle on Ironhorn!\n"
    assert browser.get("/hello/J%C3%BCrgen%20%26%20Co").text == "<p>Hello, Jürgen &amp; Co!</p>\n"
    assert browser.get("/nowhere").status == 404


@every_way
def test_a_stream_is_read_line_by_line_as_it_is_made(example: Way, pace: Pace) -> None:
    server = example.serve("bottle_app", pace.env)
    with server.connect() as wire:
        wire.get("/stream")
        pace.next_chunk()
        head = wire.read_head()
        assert (head.status, head.get("Transfer-Encoding")) == (200, "chunked")
        assert wire.read_chunk() == b"line 1\n"
        for number in range(2, 6):
            pace.next_chunk()
            assert wire.read_chunk() == b"line %d\n" % number
        assert wire.read_chunk() == b""
        assert wire.get("/").read_response().body == b"Hello from Bottle on Ironhorn!\n"
