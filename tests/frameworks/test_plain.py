"""hello, streaming, upload, hooks and preload: apps without a framework."""

from __future__ import annotations

import hashlib
import json
import random
import re

import pytest
from frameworks.example import Pace
from frameworks.ways import Way, every_way
from harness import request

pytestmark = pytest.mark.frameworks


@every_way
def test_hello(example: Way) -> None:
    server = example.serve("hello")
    with server.connect() as wire:
        for _ in range(2):
            response = wire.get("/").read_response()
            assert (response.status, response.body) == (200, b"Hello from Ironhorn!\n")
            assert response.get("Content-Length") == "21"
        head = wire.send(request("HEAD", "/")).read_response("HEAD")
        assert (head.status, head.get("Content-Length")) == (200, "21")


@every_way
def test_each_chunk_arrives_before_the_next_is_made(example: Way, pace: Pace) -> None:
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


@every_way
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3_000_001])
def test_upload(example: Way, size: int) -> None:
    server = example.serve("upload")
    body = random.Random(size).randbytes(size)
    page = server.browser().post("/", body)
    assert page.status == 200
    assert json.loads(page.body) == {"size": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_upload_wants_a_body(example: Way) -> None:
    page = example.serve("upload").browser().get("/")
    assert (page.status, page.headers["Allow"]) == (405, "POST, PUT")


@pytest.mark.ironhorn("the example's hooks are Ironhorn's")
@every_way
def test_hooks(example: Way) -> None:
    entrance = example.serve("hooks")
    with entrance.connect() as wire:
        for _ in range(3):
            assert wire.get("/").read_response().body == b"hello\n"
    assert entrance.server.stop() == 0
    served = entrance.server.log.matching(r"worker \d has served \d+ requests")
    assert sum(int(re.search(r"served (\d+)", line)[1]) for line in served) == 3, served


@every_way
def test_preload(example: Way) -> None:
    browser = example.serve("preload").browser()
    product = json.loads(browser.get("/products/7").body)
    assert (product["name"], product["price"]) == ("product 7", 49)
    assert browser.get("/products/none").status == 404
