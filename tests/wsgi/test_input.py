"""wsgi.input (PEP 3333 "Input and Error Streams")."""

from __future__ import annotations

import ast

import pytest
from harness import Server, request


def post(server: Server, name: str, body: bytes) -> object:
    """What the app says that it read."""
    with server.connect() as wire:
        return ast.literal_eval(
            wire.send(request("POST", f"/{name}", body=body)).read_response().body.decode()
        )


BODY = b"a\nbb\nccc"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("read_all", [BODY, b"", b"", b""]),
        ("read_sizes", [b"", b"a", b"\nb", b"b\nccc", b""]),
        ("read_default_sizes", [b"a\n", b"bb\nccc", b""]),
        ("read_lines", [b"a\n", b"bb", b"\n", b"ccc"]),
        ("read_readlines", [b"a\n", b"bb\n", b"ccc"]),
        ("read_iteration", [b"a\n", b"bb\n", b"ccc"]),
        ("read_mixed", [b"a", b"\n", b"bb\n", b"ccc"]),
        ("read_wrapped", BODY),
    ],
)
def test_input(server: Server, name: str, expected: object) -> None:
    assert post(server, name, BODY) == expected


def test_readlines_with_a_hint(server: Server) -> None:
    first, rest = post(server, "read_readlines_hint", BODY)
    assert first[0] == b"a\n"
    assert first + rest == [b"a\n", b"bb\n", b"ccc"]


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_input_of_any_size_in_lines(server: Server, size: int) -> None:
    """Bodies in memory and in a file behave alike."""
    body = (b"l" * 99 + b"\n") * (size // 100) + b"x" * (size % 100)
    lines = post(server, "read_iteration", body)
    assert b"".join(lines) == body
    assert all(len(line) == 100 for line in lines[:-1])


def test_input_of_a_request_without_a_body(server: Server) -> None:
    with server.connect() as wire:
        assert wire.get("/read_all").read_response().body == b"[b'', b'', b'', b'']"
