"""wsgi.file_wrapper, by sendfile(2) where the file is a real one."""

from __future__ import annotations

import pytest
from harness import BadResponse, Server, request

FILE = bytes(range(256)) * 2000


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("file", FILE),
        ("file_block_size", FILE),
        ("file_from_offset", FILE[1000:]),
        pytest.param(
            "file_after_read",
            FILE[10:],
            marks=pytest.mark.differs("starts where the descriptor is"),
        ),
        ("file_with_length", FILE[:500]),
        ("file_in_memory", b"m" * 100_000),
        ("file_pipe", b"from a pipe"),
        ("file_iterated", b"I" * 20_000),
    ],
)
def test_file_wrapper(server: Server, name: str, body: bytes) -> None:
    with server.connect() as wire:
        for _ in range(2):
            assert wire.get(f"/{name}").read_response().body == body


def test_file_wrapper_for_head(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("HEAD", "/file")).read_response("HEAD")
        assert wire.get("/one_item_list").read_response().body == b"one item"


def test_a_file_shorter_than_its_length(server: Server) -> None:
    with server.connect() as wire:
        wire.get("/file_too_short")
        with pytest.raises((BadResponse, ConnectionError)):
            wire.read_response(deadline=3)


def test_file_wrapper_to_a_slow_reader(server: Server) -> None:
    with server.connect(receive_buffer=4096) as wire:
        wire.get("/file").read_head()
        assert server.get("/one_item_list").status == 200
