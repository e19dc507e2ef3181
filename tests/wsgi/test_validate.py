"""The apps that keep the rules, under wsgiref.validate."""

from __future__ import annotations

import pytest
from harness import Server, request

LEGAL = [
    "one_item_list",
    "two_items",
    "empty_list",
    "generator",
    "closes",
    "closes_with_length",
    "exc_info_before_head",
    "exc_info_at_first",
    "mutates_headers",
    "write",
    "kinds",
    "counted",
    "file",
    "file_in_memory",
]


@pytest.mark.parametrize("name", LEGAL)
def test_wsgiref_validate(server: Server, name: str) -> None:
    mark = server.log.mark()
    plain, checked = server.get(f"/{name}?{name}"), server.get(f"/valid/{name}?{name}")
    assert (checked.status, checked.body) == (plain.status, plain.body)
    assert not server.log.matching("AssertionError|Traceback|garbage collected", mark)


def test_wsgiref_validate_with_a_body(server: Server) -> None:
    """The validator lets an app call read() only with a size."""
    with server.connect() as wire:
        response = wire.send(
            request("POST", "/valid/read_sizes", "Content-Type: a/b", body=b"abcd")
        ).read_response()
    assert response.body == repr([b"", b"a", b"bc", b"d", b""]).encode()
