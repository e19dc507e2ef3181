"""start_response(), its checks, exc_info, write() (PEP 3333 "The start_response() Callable")."""

from __future__ import annotations

import pep3333
import pytest
from harness import BadResponse, Server, Stage


def test_a_second_call_without_exc_info(server: Server) -> None:
    with server.complains("ERROR|Error"):
        assert server.get("/started_twice").status == 500


@pytest.mark.differs("adds to the fields of the first call")
def test_exc_info_replaces_the_head(server: Server) -> None:
    response = server.get("/exc_info_before_head")
    assert (response.status, response.reason, response.body) == (503, "Sorry", b"replaced")
    assert (response.get("X-First"), response.get("X-Second")) == (None, "2")


def test_exc_info_after_the_head_is_raised_again(server: Server) -> None:
    with server.complains("on purpose, after the head"), server.connect() as wire:
        wire.get("/exc_info_after_head").read_head()
        assert wire.read_chunk() == b"sent"
        with pytest.raises((BadResponse, ConnectionError)):
            wire.read_chunk()


def test_exc_info_in_the_first_call(server: Server) -> None:
    assert (server.get("/exc_info_at_first").status, server.get("/exc_info_at_first").body) == (
        500,
        b"oh",
    )


def test_latin_1_values(server: Server) -> None:
    response = server.get("/latin1_value")
    assert (response.get("X-Latin"), response.get("X-Tab"), response.get("X-Empty")) == (
        "caf\xe9",
        "a\tb",
        "",
    )


def test_an_empty_reason(server: Server) -> None:
    assert server.get("/status_without_reason").status == 299


def bad_starts() -> list[object]:
    lax = {"status_interim", "length_twice", "length_negative"}
    hop = {
        "connection",
        "keep_alive",
        "transfer_encoding",
        "te",
        "trailer",
        "upgrade",
        "proxy_authenticate",
    }
    marks = {name: pytest.mark.differs("drops it silently") for name in hop}
    marks |= {name: pytest.mark.differs("lets it through") for name in lax}
    return [pytest.param(name, marks=marks.get(name, [])) for name in pep3333.BAD_STARTS]


@pytest.mark.parametrize("name", bad_starts())
def test_a_bad_head_is_refused(server: Server, name: str) -> None:
    """Nothing of it reaches the wire, and the log says which rule was broken."""
    with server.complains("ERROR|Error"), server.connect() as wire:
        raw = wire.get(f"/bad_{name}", "Connection: close").read_to_end()
        assert raw.startswith(b"HTTP/1.1 500 ")
        assert b"Injected" not in raw


def test_write(server: Server) -> None:
    assert server.get("/write").body == b"written twice and returned"


def test_write_sends_at_once(server: Server, shared_stage: Stage) -> None:
    gate = shared_stage.gate("write")
    with server.connect() as wire:
        wire.get("/write_is_sent_at_once").read_head()
        assert wire.read_chunk() == b"before"
        gate.wait_arrived()
        gate.let_pass()
        assert wire.read_chunk() == b"after"
        assert wire.read_chunk() == b""


@pytest.mark.differs("has sent the head by then")
def test_write_of_a_str(server: Server) -> None:
    with server.complains("ERROR|Error"):
        assert server.get("/write_str").status == 500


def test_write_never_exceeds_the_length(server: Server) -> None:
    with server.connect() as wire:
        wire.get("/write_with_length", "Connection: close")
        raw = wire.read_to_end()
    assert raw.startswith(b"HTTP/1.1 500 ") or raw.endswith(b"\r\n\r\n12345")
