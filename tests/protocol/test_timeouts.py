"""Each timeout of a connection, and clients that are slow on purpose."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import pytest
from harness import Load, Server, Stage, Wire, request, wait_until
from harness.process import cpu_seconds, scaled

pytestmark = pytest.mark.ironhorn("Gunicorn has no timeouts of its own for slow clients")


def elapsed(started: float) -> float:
    return time.monotonic() - started


def test_a_head_that_does_not_come(stage: Stage) -> None:
    server = stage.serve(header_timeout=1)
    with server.connect() as wire:
        started = time.monotonic()
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        response = wire.read_response()
        assert response.status == 408
        assert response.closes
        assert 0.9 <= elapsed(started) <= 1 + scaled(1.5)
        wire.wait_closed()


def test_dripping_does_not_extend_the_head_time(stage: Stage) -> None:
    server = stage.serve(header_timeout=1)
    with server.connect() as wire:
        started = time.monotonic()
        wire.send(b"GET / HTTP/1.1\r\nX: ")
        while wire.is_silent_for(0.05) and elapsed(started) < scaled(5):
            wire.send_what_fits(b"a")
        assert 0.9 <= elapsed(started) <= 1 + scaled(1.5)
        assert wire.read_response().status == 408


def test_a_silent_connection_is_closed(stage: Stage) -> None:
    """One that never sent a byte has nothing to be told."""
    server = stage.serve(header_timeout=1, keepalive=1)
    with server.connect() as wire:
        started = time.monotonic()
        answer = wire.read_to_end()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
        assert 0.9 <= elapsed(started) <= 1 + scaled(1.5)


def test_a_body_that_stops(stage: Stage) -> None:
    server = stage.serve(body_timeout=1)
    with server.connect() as wire:
        started = time.monotonic()
        wire.send(request("POST", "/echo", "Content-Length: 100") + b"some of it")
        response = wire.read_response()
        assert (response.status, response.closes) == (408, True)
        assert 0.9 <= elapsed(started) <= 1 + scaled(1.5)


def test_a_body_that_goes_on_slowly_is_waited_for(stage: Stage) -> None:
    """body_timeout is for the time between bytes, not for the whole; that has body_min_rate."""
    server = stage.serve(body_timeout=1, body_min_rate=1)
    with server.connect() as wire:
        started = time.monotonic()
        wire.send(request("POST", "/echo", "Content-Length: 5"))
        for _ in range(5):
            assert wire.is_silent_for(0.4)
            wire.send(b"x")
        assert wire.read_response().body == b"xxxxx"
        assert elapsed(started) > 1.9


def test_a_body_that_drips_in_is_refused(stage: Stage) -> None:
    """However short its pauses are: on average it has to be faster than that."""
    server = stage.serve(body_timeout=1, body_min_rate=1000)
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 1000"))
        while wire.is_silent_for(0.2):
            wire.send(b"x")
        assert wire.read_response().status == 408


def test_a_client_that_never_reads(stage: Stage) -> None:
    """write_timeout without progress: the connection is cut and the app's close() runs."""
    server = stage.serve(write_timeout=1)
    with server.connect(receive_buffer=4096) as wire:
        wire.get("/endless")
        closed = stage.directory / "closed"
        wait_until(closed.exists, what="close() of the response")
        assert server.get("/hello").status == 200


def test_a_slow_reader_of_a_big_body_is_served(stage: Stage) -> None:
    """Progress, however slow, is not a timeout; and nobody else waits."""
    server = stage.serve(write_timeout=2)
    size = 3_000_000
    with server.connect(receive_buffer=16384) as wire:
        wire.get(f"/big?{size}")
        assert wire.read_head().get("Content-Length") == str(size)
        for _ in range(4):
            wire.read_exactly(1000)
            assert server.get("/hello", deadline=2).status == 200
        assert len(wire.read_exactly(size - 4000, 20)) == size - 4000


def test_a_slow_reader_does_not_block_a_stream_s_neighbours(stage: Stage) -> None:
    server = stage.serve()
    with server.connect(receive_buffer=4096) as stalled:
        stalled.get("/endless")
        assert stalled.read_head().status == 200
        for _ in range(20):
            assert server.get("/hello", deadline=2).status == 200


def drip(clients: list[Wire], data: bytes) -> None:
    for client in clients:
        client.send_what_fits(data)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["head", "body"])
def test_200_dripping_clients(stage: Stage, kind: str) -> None:
    """A slow client costs a connection, never a worker: others keep their latency and the loop does
    not spin.
    """
    server = stage.serve(workers=2, header_timeout=30, body_timeout=30)
    with Load(server.address, keep_alive=2, one_request=2) as quiet:
        quiet.wait_more(100)
    calm = sorted(sample.latency for sample in quiet.stop().samples)

    first = (
        b"GET / HTTP/1.1\r\nX: "
        if kind == "head"
        else request("POST", "/echo", "Content-Length: 100000")
    )
    clients = [server.connect().send(first) for _ in range(200)]
    used = sum(map(cpu_seconds, server.workers()))
    with Load(server.address, keep_alive=2, one_request=2) as load:
        started = time.monotonic()
        while elapsed(started) < 3:
            drip(clients, b"a")
            load.wait_more(20)
    report = load.stop()
    for client in clients:
        client.close()
    report.assert_none_failed()
    busy = sorted(sample.latency for sample in report.samples)
    assert busy[len(busy) // 2] < calm[len(calm) // 2] * 3 + scaled(0.02)
    assert busy[int(len(busy) * 0.99)] < scaled(0.25)
    assert sum(map(cpu_seconds, server.workers())) - used < elapsed(started) * 0.7


def test_the_connection_limit(stage: Stage) -> None:
    """Over worker_connections nothing more is accepted; when one leaves, the next is."""
    server = stage.serve(worker_connections=10, keepalive=30)
    with server.complains("WARN .*holds as many connections as it may.*worker_connections=10"):
        held = [server.connect() for _ in range(10)]
        for wire in held:
            wire.send(request("POST", "/digest", "Content-Length: 10"))
    with server.connect() as waiting:
        waiting.get("/hello")
        arrived = not waiting.is_silent_for(0.3)
        held.pop().close()
        assert waiting.read_response().status == 200
    for wire in held:
        wire.close()
    assert not arrived, "served although the limit was reached"


def test_idle_connections_keep_nobody_out(stage: Stage) -> None:
    """They are closed for new ones, who was idle for longest first."""
    server = stage.serve(worker_connections=10, keepalive=30)
    idle = [server.connect() for _ in range(10)]
    for wire in idle:
        assert wire.get("/hello").read_response().status == 200
    assert idle[0].get("/hello").read_response().status == 200
    with server.connect() as new, server.connect() as newer:
        for wire in (new, newer):
            assert wire.get("/hello").read_response().status == 200
        for wire in idle[1:3]:
            assert wire.read_to_end() == b""
        for wire in [idle[0], *idle[3:], new, newer]:
            assert wire.get("/hello").read_response().status == 200
    for wire in idle:
        wire.close()


def test_a_big_upload_goes_to_a_file_that_has_no_name(stage: Stage) -> None:
    """Memory of the worker stays bounded, and nothing is left in TMPDIR even while the upload is on
    its way.
    """
    server = stage.serve()
    size = 64 << 20
    piece = b"z" * (1 << 20)
    with server.connect() as wire:
        wire.send(request("POST", "/digest", f"Content-Length: {size}"))
        before = resident(server)
        for _ in range(size // len(piece) - 1):
            wire.send(piece, 20)
        wait_until(lambda: spooled(server), what="a deleted file held by the worker")
        assert resident(server) - before < 16 << 20
        assert list((stage.directory / "spool").iterdir()) == []
        assert wire.send(piece).read_response(deadline=20).body.startswith(str(size).encode())
    wait_until(lambda: not spooled(server), what="the file is let go")


def test_uploads_have_so_much_of_the_disk_together(stage: Stage) -> None:
    """Who finds no room is told so; the others go on, and what is done makes room again."""
    server = stage.serve(spool_limit="8m")
    piece = b"z" * (1 << 20)

    with server.connect() as first, server.connect() as second:
        first.send(request("POST", "/digest", f"Content-Length: {(5 << 20) + 1}"))
        for _ in range(5):
            first.send(piece, 20)
        wait_until(lambda: spooled(server) == 5 << 20, what="all of it in a file")
        with server.complains("WARN .*raise spool_limit.*spool_limit=8388608"):
            second.send(request("POST", "/digest", f"Content-Length: {64 << 20}"))
            with suppress(OSError):
                for _ in range(64):
                    second.send(piece, 20)
            refused = second.read_response()
            assert (refused.status, refused.reason) == (507, "Insufficient Storage")
        assert first.send(b"z").read_response(deadline=20).status == 200
    with server.connect() as third:
        third.send(request("POST", "/digest", f"Content-Length: {8 << 20}"))
        for _ in range(8):
            third.send(piece, 20)
        assert third.read_response(deadline=20).status == 200


def resident(server: Server) -> int:
    """Bytes in memory of the worker."""
    with open(f"/proc/{server.worker()}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def spooled(server: Server) -> int:
    """Bytes in deleted files that the worker holds."""
    directory = f"/proc/{server.worker()}/fd"
    spool = str(server.directory / "spool")
    size = 0
    for fd in os.listdir(directory):
        with suppress(FileNotFoundError):
            target = os.readlink(f"{directory}/{fd}")
            if target.startswith(spool) and target.endswith("(deleted)"):
                size += os.stat(f"{directory}/{fd}").st_size
    return size


def test_a_small_body_stays_in_memory(stage: Stage) -> None:
    server = stage.serve()
    upload = stage.gate("upload")
    with server.connect() as wire:
        wire.send(request("POST", "/meet?upload", body=b"small"))
        upload.wait_arrived()
        assert not spooled(server)
        upload.let_pass()
        assert wire.read_response().body == b"passed\n"
