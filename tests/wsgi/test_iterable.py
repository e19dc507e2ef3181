"""The iterable that an app returns: its items and its length (PEP 3333 "The Application/Framework
Side").
"""

from __future__ import annotations

import pytest
from harness import BadResponse, Server, Stage, request


@pytest.mark.differs("sends it chunked")
@pytest.mark.parametrize("name", ["one_item_list", "one_item_tuple"])
def test_one_item_gets_a_content_length(server: Server, name: str) -> None:
    response = server.get(f"/{name}")
    assert (response.framing, response.body) == ("length", b"one item")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("two_items", b"two items"),
        ("empty_list", b""),
        ("empty_items", b"late"),
        ("generator", b"ab"),
        pytest.param(
            "late_start", b"late", marks=pytest.mark.differs("takes an empty string for output")
        ),
        ("subclasses", b"subclass"),
        ("own_iterator", b"012"),
        ("generator_return", b""),
        ("mutates_headers", b"x"),
    ],
)
def test_the_body(server: Server, name: str, body: bytes) -> None:
    with server.connect() as wire:
        for _ in range(2):
            response = wire.get(f"/{name}").read_response()
            assert (response.status, response.body) == (200, body)
            assert response.get("X-Late") is None


def test_no_chunk_is_empty_on_the_wire(server: Server) -> None:
    """An empty string must not end a chunked body."""
    response = server.get("/empty_items")
    assert b"" not in response.chunks


def test_chunks_are_sent_as_they_are_made(server: Server, shared_stage: Stage) -> None:
    """PEP 3333 "Buffering and Streaming": no block is held back while the app makes the next."""
    chunk = shared_stage.gate("chunk")
    with server.connect() as wire:
        wire.get("/streamed")
        for index in range(3):
            chunk.wait_arrived()
            chunk.let_pass()
            if index == 0:
                assert wire.read_head().get("Transfer-Encoding") == "chunked"
            assert wire.read_chunk() == b"chunk %d" % index
        assert wire.read_chunk() == b""


BEFORE_THE_HEAD = [
    pytest.param("no_start_response", marks=pytest.mark.differs("sends HTTP/1.1 None")),
    pytest.param("chunk_before_start", marks=pytest.mark.differs("sends HTTP/1.1 None")),
    "returns_none",
    pytest.param("str_chunk", marks=pytest.mark.differs("has sent the head by then")),
    pytest.param("int_chunk", marks=pytest.mark.differs("has sent the head by then")),
]


@pytest.mark.parametrize("name", BEFORE_THE_HEAD)
def test_a_broken_rule_before_the_head_is_a_500(server: Server, name: str) -> None:
    with server.complains("ERROR|Error"):
        response = server.get(f"/{name}")
    assert response.status == 500
    assert b"Traceback" not in response.body


def test_a_str_chunk_after_the_head_cuts_the_connection(server: Server) -> None:
    with (
        server.complains("ERROR|Error"),
        server.connect() as wire,
        pytest.raises((BadResponse, ConnectionError)),
    ):
        wire.get("/str_chunk_late").read_response()


@pytest.mark.parametrize("name", ["too_long", "too_long_at_once"])
def test_the_body_never_exceeds_its_length(server: Server, name: str) -> None:
    with server.connect() as wire:
        wire.get(f"/{name}", "Connection: close")
        assert wire.read_to_end().partition(b"\r\n\r\n")[2] == b"12345"


@pytest.mark.parametrize("name", ["too_short", "too_short_stream"])
@pytest.mark.differs(
    "keeps the connection, so that the next response is read as the rest of this one"
)
def test_a_body_too_short_closes_the_connection(server: Server, name: str) -> None:
    with server.complains("WARN|ERROR"), server.connect() as wire:
        wire.send(request("GET", f"/{name}") + request("GET", "/one_item_list"))
        head, _, body = wire.read_to_end(3.0).partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 500 "))
        assert b"one item" not in body
