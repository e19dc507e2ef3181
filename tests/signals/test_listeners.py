"""Who holds a listener, and for how long: a port is given up by everybody at once."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from harness import Server, Stage, wait_until

pytestmark = pytest.mark.ironhorn("workers hold theirs to the end")

APP = """
import multiprocessing, os

def nothing():
    pass

def app(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/fork":
        child = multiprocessing.get_context("fork").Process(target=nothing)
        child.start()
        child.join()
        body = str(child.exitcode)
    elif environ["PATH_INFO"] == "/links":
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                links = []
                for number in os.listdir("/proc/self/fd"):
                    try:
                        links.append(os.readlink(f"/proc/self/fd/{number}"))
                    except FileNotFoundError:
                        pass
                os.write(writing, " ".join(links).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            body = pipe.read()
        os.wait()
    else:
        body = "served"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
"""


def links(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def listening(port: int) -> str | None:
    """The socket that listens on a port of 127.0.0.1's, as a descriptor's link has it."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A":
            return f"socket:[{fields[9]}]"
    return None


@pytest.fixture(params=[False, True], ids=["plain", "preload"])
def server(request: pytest.FixtureRequest, stage: Stage) -> Server:
    """One that has bound its addresses itself."""
    (stage.directory / "forking.py").write_text(APP)
    binds = ["--bind=127.0.0.1:0", "--bind=localhost:0"]
    started = stage.serve("forking:app", *binds, bind=None, preload=request.param)
    line = started.log.wait_for_line(r"listening address=127\.0\.0\.1:\d+")
    started.address = ("127.0.0.1", int(re.search(r":(\d+)$", line)[1]))
    return started


def test_a_worker_has_one_descriptor_of_each(server: Server) -> None:
    ports = [int(line.rpartition(":")[2]) for line in server.log.matching("listening address=")]
    assert len(ports) == 2
    held = links(server.worker())
    assert [held.count(listening(port)) for port in ports] == [1, 1]
    # Sets of descriptors that are polled: its own, and none of the master's.
    assert held.count("anon_inode:[eventpoll]") == 1


def test_a_process_of_the_app_s_has_none(server: Server) -> None:
    listener = listening(server.address[1])
    assert listener not in server.get("/links").body.decode().split()


@pytest.mark.parametrize("server", [False], indirect=True, ids=["plain"])
def test_the_port_is_closed_after_the_drain(server: Server) -> None:
    """Who comes when the queue has been taken is refused, while a slow client is served."""
    with server.connect() as slow:
        slow.send(b"POST /fork HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        assert server.get("/").body == b"served"
        server.send(signal.SIGTERM)
        wait_until(lambda: listening(server.address[1]) is None, what="the end of the queue")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        # The numbers of the listeners are those of the child's pipes by now.
        slow.send(b"cd")
        assert slow.read_response().body == b"0"
    assert server.wait_exit() == 0
