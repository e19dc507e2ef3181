"""Static files beside other work: slow readers, logs, counts, descriptors."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from harness import Stage, request, wait_until
from static import site
from static.site import BIG, CSS

pytestmark = pytest.mark.ironhorn("no static files")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_slow_reader_holds_nobody_up(stage: Stage) -> None:
    server = site.serve(stage, write_timeout=60, timeout=5)
    with server.connect(receive_buffer=4096) as slow:
        slow.get("/static/big.bin")
        head = slow.read_head()
        assert head.status == 200
        for _ in range(20):
            assert server.get("/hello").body == b"hello\n"
            assert server.get("/static/site.css").body == CSS
        # In pieces: the client's buffer is small.
        piece = 1 << 16
        for start in range(0, len(BIG), piece):
            assert slow.read_exactly(piece) == BIG[start : start + piece]
        assert slow.get("/hello").read_response().body == b"hello\n"


def test_a_reader_that_takes_nothing_is_left(stage: Stage) -> None:
    server = site.serve(stage, write_timeout=0.5)
    worker = server.worker()
    before = descriptors(worker)
    with server.connect(receive_buffer=4096) as slow:
        slow.get("/static/big.bin")
        wait_until(lambda: descriptors(worker) == before + 2, what="the file is being sent")
        wait_until(lambda: descriptors(worker) == before, what="file and connection closed")


def test_requests_leave_no_descriptor_open(stage: Stage) -> None:
    server = site.serve(stage)
    worker = server.worker()
    with server.connect() as wire:
        names = ["site.css", "docs", "docs/", "nothing", "photo.png", ".env", "bare"]
        requests = [request("GET", f"/static/{name}", "Accept-Encoding: br") for name in names]
        requests.append(request("GET", "/static/big.bin", "Range: bytes=1-70000"))
        wire.send(requests[0]).read_response()
        # The file is closed by the time that the next request is answered.
        wire.get("/hello").read_response()
        before = descriptors(worker)
        for _ in range(1250):
            wire.send(b"".join(requests))
            statuses = [wire.read_response().status for _ in requests]
            assert statuses == [200, 301, 200, 404, 200, 404, 404, 206]
        wire.get("/hello").read_response()
        assert descriptors(worker) == before
    assert server.worker() == worker


def test_a_directory_that_is_gone_stops_no_replacement(stage: Stage) -> None:
    """Its requests are the app's until a reload; the rest goes on as before."""
    directory = stage.directory / "gone"
    directory.mkdir()
    (directory / "here.txt").write_text("here")
    site.fill(stage.directory / "assets")
    server = stage.serve(static=["/gone=gone", "/static=assets"])
    server.allow_log("cannot serve /gone", "worker died")
    assert server.get("/gone/here.txt").body == b"here"
    shutil.rmtree(directory)
    with server.complains("ERROR .*cannot serve /gone from gone: .*the application answers there"):
        os.kill(server.worker(), signal.SIGKILL)
    server.wait_answer("/hello")
    assert server.get("/static/site.css").body == CSS
    assert server.get("/gone/here.txt").status == 404


def test_the_access_log_and_max_requests(stage: Stage) -> None:
    server = site.serve(
        stage,
        access_logfile="access.log",
        access_logformat='"%(r)s" %(s)s %(B)s "%({content-type}o)s"',
        max_requests=2,
    )
    worker = server.worker()
    with server.connect() as wire:
        for target in ("site.css", "no", "docs", "site.css"):
            wire.get(f"/static/{target}").read_response()
        wire.send(request("HEAD", "/static/site.css")).read_response("HEAD")
        wire.get("/static/big.bin", "Range: bytes=0-9").read_response()
    # None of them was a request of the app's.
    assert server.worker() == worker
    log = Path(stage.directory / "access.log")
    wait_until(lambda: len(log.read_text().splitlines()) == 6, what="six lines")
    assert log.read_text().splitlines() == [
        f'"GET /static/site.css HTTP/1.1" 200 {len(CSS)} "text/css; charset=utf-8"',
        '"GET /static/no HTTP/1.1" 404 10 "text/plain; charset=utf-8"',
        '"GET /static/docs HTTP/1.1" 301 18 "text/plain; charset=utf-8"',
        f'"GET /static/site.css HTTP/1.1" 200 {len(CSS)} "text/css; charset=utf-8"',
        '"HEAD /static/site.css HTTP/1.1" 200 0 "text/css; charset=utf-8"',
        '"GET /static/big.bin HTTP/1.1" 206 10 "application/octet-stream"',
    ]


def test_limits_hold_for_static_files(stage: Stage) -> None:
    server = site.serve(stage, limit_request_line=200, limit_request_body=10)
    assert server.get("/static/" + "a" * 300).status == 414
    with server.connect() as wire:
        wire.send(request("GET", "/static/site.css", "Content-Length: 100"))
        assert wire.read_response().status == 413
