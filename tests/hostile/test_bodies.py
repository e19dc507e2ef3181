"""Floods of bodies: sent by clients, and not read by them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable

import pytest
from harness import Stage, Wire, request, wait_until
from harness.measure import memory

from .watch import MEBI, Watch, wait_reset

pytestmark = [pytest.mark.ironhorn("no such promise"), pytest.mark.alone]

Crowd = Callable[..., list[Wire]]
CODED = request("POST", "/digest", "Transfer-Encoding: chunked")


def test_many_bodies_at_once(stage: Stage, crowd: Crowd) -> None:
    """Bodies of 1 MiB, of which the last byte is missing: 64 MiB of all of them are in memory, the
    rest in files; and none is lost.
    """
    server = stage.serve()
    body = b"x" * MEBI
    head = request("POST", "/digest", f"Content-Length: {len(body)}")
    with Watch(server, "150 bodies of 1 MiB at once") as watch:
        clients = crowd(server, 150)
        for client in clients:
            client.send(head + body[:-1])
        watch.wait_served(5)
        expected = f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()
        for client in clients:
            assert client.send(body[-1:]).read_response().body == expected
        watch.wait_served(5)
    watch.assert_served(within=2)
    # A buffer has up to twice the room of what is in it.
    assert 32 * MEBI < watch.grown() < (2 * 64 + 150 * 128 / 1024 + 16) * MEBI


def test_announced_bodies(stage: Stage, crowd: Crowd) -> None:
    """A length is only a promise: nothing is set aside for it but a little."""
    server = stage.serve()
    with Watch(server, "900 bodies of 1 TiB, announced") as watch:
        for client in crowd(server, 900):
            client.send(request("POST", "/digest", f"Content-Length: {1 << 40}") + b"x")
        watch.wait_served(5)
    watch.assert_served(within=2)
    assert watch.grown() < (900 * 64 / 1024 + 8) * MEBI


def test_chunks_of_one_byte(stage: Stage, crowd: Crowd) -> None:
    """50,000 from each of 20: six bytes on the wire for one in memory."""
    server = stage.serve()
    content = b"x" * 50_000
    chunks = b"1\r\nx\r\n" * len(content) + b"0\r\n\r\n"
    with Watch(server, "20 bodies of 50,000 chunks of a byte") as watch:
        clients = crowd(server, 20)
        for client in clients:
            client.send(CODED + chunks)
        expected = f"{len(content)} {hashlib.sha256(content).hexdigest()}".encode()
        for client in clients:
            assert client.read_response().body == expected
        watch.wait_served(3)
    watch.assert_served(within=2)
    assert watch.grown() < 16 * MEBI


def test_chunks_of_nothing_but_framing(stage: Stage, crowd: Crowd) -> None:
    """Extensions of 1000 bytes for a byte of content are refused after 16 KiB of them."""
    server = stage.serve()
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    with Watch(server, "100 bodies of chunk extensions") as watch:
        for client in crowd(server, 100):
            client.send_what_fits(CODED + chunk * 1000)
            assert client.read_response().status == 400
        watch.wait_served(3)
    watch.assert_served(within=2)
    assert watch.grown() < 8 * MEBI


def test_compressed_bodies_stay_compressed(stage: Stage, crowd: Crowd) -> None:
    """Content-Encoding is the app's affair: 20 KiB that would be 20 MiB are 20 KiB."""
    server = stage.serve()
    bomb = gzip.compress(bytes(20 * MEBI))
    assert len(bomb) < 40_000
    with Watch(server, "100 bodies of 20 KiB that unpack to 20 MiB") as watch:
        for client in crowd(server, 100):
            client.send(request("POST", "/echo", "Content-Encoding: gzip", body=bomb))
            assert client.read_response().body == bomb
        watch.wait_served(3)
    watch.assert_served(within=2)
    assert watch.grown() < 4 * MEBI


def test_buffered_responses_that_nobody_reads(stage: Stage, crowd: Crowd) -> None:
    """Each holds what the app has made and the kernel has no room for, until write_timeout."""
    server = stage.serve(write_timeout=3)
    with Watch(server, "30 answers of 8 MiB, not read") as watch:
        clients = crowd(server, 30, receive_buffer=4096)
        for client in clients:
            client.get(f"/big?{8 * MEBI}")
        watch.wait_served(10)
        for client in clients:
            wait_reset(client)
        watch.wait_served(3)
        left = watch.now()
    watch.assert_served(within=5)
    assert 100 * MEBI < watch.grown() < (30 * 8 + 16) * MEBI
    assert left - watch.before < 16 * MEBI


def close(clients: list[Wire]) -> None:
    """They leave."""
    for client in clients:
        client.close()


def give_up(clients: list[Wire]) -> None:
    """They stay until they are given up."""
    for client in clients:
        wait_reset(client)


@pytest.mark.parametrize("over", [close, give_up])
@pytest.mark.parametrize("meanwhile", ["/files/small", "/health", None])
def test_what_dropped_clients_were_sent_is_freed_without_the_app(
    stage: Stage, crowd: Crowd, over: Callable[[list[Wire]], None], meanwhile: str | None
) -> None:
    """The loop can't free what Python has made, and the threads that can have nothing to do."""
    (stage.directory / "small").write_bytes(b"small")
    server = stage.serve(
        threads=4,
        write_timeout=2 if over is give_up else 600,
        static=f"/files={stage.directory}",
        health_path="/health",
    )
    worker = server.worker()
    assert server.get("/hello").status == 200
    before = memory([worker])
    clients = crowd(server, 30, receive_buffer=4096)
    for client in clients:
        client.get(f"/big?{8 * MEBI}").read_head()
    assert memory([worker]) - before > 100 * MEBI
    over(clients)

    def is_freed() -> bool:
        if meanwhile is not None:
            assert server.get(meanwhile).status == 200
        return memory([worker]) - before < 4 * MEBI

    wait_until(is_freed, what="the memory is freed")


def test_what_needs_no_sending_is_freed_without_the_app(stage: Stage, crowd: Crowd) -> None:
    """Nor does the thread that has answered keep what it drops then, having nothing to do."""
    server = stage.serve(threads=4)
    worker = server.worker()
    assert server.get("/hello").status == 200
    before = memory([worker])
    for client in crowd(server, 4):
        client.send(request("HEAD", f"/big?{64 * MEBI}"))
        assert client.read_response("HEAD").status == 200
    wait_until(lambda: memory([worker]) - before < 4 * MEBI, what="the memory is freed")


def test_streams_that_nobody_reads(stage: Stage, crowd: Crowd) -> None:
    """The app makes no more than its client takes: a chunk of 64 KiB waits, not the stream. The
    kernel's buffers have to be filled first, with megabytes for each.
    """
    server = stage.serve(write_timeout=3)
    with Watch(server, "100 endless answers, not read") as watch:
        clients = crowd(server, 100, receive_buffer=4096)
        for client in clients:
            client.get("/endless")
        watch.wait_served(10)
        for client in clients:
            wait_reset(client)
    watch.assert_served(within=5)
    assert watch.grown() < (100 * 128 / 1024 + 8) * MEBI
