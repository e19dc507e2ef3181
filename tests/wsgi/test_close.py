"""close() is called exactly once, however the response ends (PEP 3333 "Specification Details")."""

from __future__ import annotations

from contextlib import suppress

import pytest
from harness import Server, Stage, Wire, request, wait_until


def closed(stage: Stage, name: str) -> int:
    path = stage.directory / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def assert_closed_once(server: Server, stage: Stage, name: str) -> None:
    wait_until(lambda: closed(stage, name), what=f"close() of {name}")
    assert server.get("/one_item_list").status == 200
    assert closed(stage, name) == 1


@pytest.mark.parametrize(
    "name",
    [
        "closes",
        "closes_with_length",
        "closes_empty",
        "closes_without_start",
        "closes_bad_chunk",
        "closes_after_error",
        "closes_after_error_before_head",
        "closes_raising",
        "file_closes",
    ],
)
def test_close_is_called_once(server: Server, shared_stage: Stage, name: str) -> None:
    with server.connect() as wire:
        wire.get(f"/{name}?{name}", "Connection: close")
        with suppress(ConnectionError):  # a response that failed half-way is cut
            wire.read_to_end()
    assert_closed_once(server, shared_stage, name)


def test_close_is_called_for_head(server: Server, shared_stage: Stage) -> None:
    with server.connect() as wire:
        wire.send(request("HEAD", "/closes?head")).read_response("HEAD")
    assert_closed_once(server, shared_stage, "head")


@pytest.mark.parametrize("name", ["closes_endless", "generator_finally"])
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_close_is_called_when_the_client_leaves(
    server: Server, shared_stage: Stage, name: str, leave: object
) -> None:
    label = f"{name}-{leave.__name__}"
    with server.connect() as wire:
        wire.get(f"/{name}?{label}").read_head()
        wire.read_exactly(100_000)
        leave(wire)
    assert_closed_once(server, shared_stage, label)
