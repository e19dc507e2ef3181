"""hello, streaming and upload: apps without a framework."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from frameworks.browser import Browser
from frameworks.example import Example, Pace
from harness import request

pytestmark = pytest.mark.frameworks


def test_hello(example: Example) -> None:
    server = example.serve("hello")
    with server.connect() as wire:
        for _ in range(2):
            response = wire.get("/").read_response()
            assert (response.status, response.body) == (200, b"Hello from Ironhorn!\n")
            assert response.get("Content-Length") == "21"
        head = wire.send(request("HEAD", "/")).read_response("HEAD")
        assert (head.status, head.get("Content-Length")) == (200, "21")


def test_each_chunk_arrives_before_the_next_is_made(example: Example, pace: Pace) -> None:
    server = example.serve("streaming", pace.env)
    with server.connect() as wire:
        wire.get("/")
        pace.next_chunk()
        head = wire.read_head()
        assert (head.status, head.get("Transfer-Encoding")) == (200, "chunked")
        assert wire.read_chunk() == b"chunk 1 of 10\n"
        for number in range(2, 11):
            pace.next_chunk()
            assert wire.read_chunk() == b"chunk %d of 10\n" % number
        assert wire.read_chunk() == b""


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3_000_001])
def test_upload(example: Example, size: int) -> None:
    server = example.serve("upload")
    body = random.Random(size).randbytes(size)
    page = Browser(server.address).post("/", body)
    assert page.status == 200
    assert json.loads(page.body) == {"size": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_upload_wants_a_body(example: Example) -> None:
    page = Browser(example.serve("upload").address).get("/")
    assert (page.status, page.headers["Allow"]) == (405, "POST, PUT")
