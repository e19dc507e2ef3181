"""The Flask app: JSON both ways, and an upload."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from frameworks.ways import Way, every_way

pytestmark = pytest.mark.frameworks

MEGABYTE = 1024 * 1024
BOUNDARY = "----a-boundary-that-is-not-in-the-file"


def form_with(file: bytes) -> bytes:
    """A multipart form with one file, as a browser sends it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n'
    return (
        head.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + file
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


@every_way
def test_json(example: Way) -> None:
    browser = example.serve("flask_app").browser()
    page = browser.get("/")
    assert (page.status, page.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(page.body) == {"message": "Hello from Flask on Ironhorn!"}

    page = browser.post(
        "/sum", json.dumps({"numbers": [1, 2, 39]}).encode(), Content_Type="application/json"
    )
    assert json.loads(page.body) == {"sum": 42, "count": 3}


def test_errors_are_json_too(example: Way) -> None:
    browser = example.serve("flask_app").browser()
    page = browser.get("/nowhere")
    assert (page.status, json.loads(page.body)) == (404, {"error": "Not Found"})
    page = browser.post("/sum", b"{not json", Content_Type="application/json")
    assert (page.status, json.loads(page.body)) == (400, {"error": "Bad Request"})


@every_way
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload_of_20_megabytes(example: Way, coding: str) -> None:
    server = example.serve("flask_app")
    file = random.Random(20).randbytes(20 * MEGABYTE)
    body = form_with(file)
    pieces = [body[at : at + MEGABYTE] for at in range(0, len(body), MEGABYTE)]
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection = server.http()
    if coding == "length":
        headers["Content-Length"] = str(len(body))
    connection.request("POST", "/upload", iter(pieces), headers, encode_chunked=coding == "chunked")
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 201
    assert answer == {
        "name": "data.bin",
        "size": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
    }
    assert not list((server.directory / "spool").iterdir()), "the body's temporary file has a name"
