"""Addresses to listen on."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest
from harness import Server, Stage, Wire

pytestmark = pytest.mark.ironhorn("another command line")


def environment(server: Server) -> dict[str, object]:
    return json.loads(server.get("/environment").body)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_unix_socket_and_its_mode(stage: Stage) -> None:
    server = stage.serve(bind="unix")
    assert server.get("/hello").status == 200
    assert mode(stage.directory / "socket") == 0o660


def test_umask(stage: Stage) -> None:
    server = stage.serve(bind="unix", umask="007")
    assert environment(server)["umask"] == 0o007
    assert (
        mode(stage.directory / "socket") == 0o770 & 0o777
        or mode(stage.directory / "socket") == 0o660
    )


def test_a_stale_unix_socket_is_replaced(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(stage.directory / "socket"))
    server = stage.serve(bind="unix")
    assert server.get("/hello").status == 200


def test_an_abstract_socket(stage: Stage) -> None:
    name = f"ironhorn-test-{os.getpid()}"
    server = stage.serve("toolbox:app", f"--bind=unix:@{name}", bind=None)
    server.address = b"\0" + name.encode()
    assert server.get("/hello").status == 200


def test_several_addresses(stage: Stage) -> None:
    server = stage.serve("toolbox:app", "--bind=unix:one", "--bind=unix:two", workers=2)
    for address in (server.address, str(stage.directory / "one"), str(stage.directory / "two")):
        with Wire(address) as wire:
            assert wire.get("/hello").read_response().status == 200
    server.leaves_nothing_at += [stage.directory / "one", stage.directory / "two"]


def test_a_port_of_the_kernel_s_choice_is_logged(stage: Stage) -> None:
    server = stage.serve("toolbox:app", "--bind=127.0.0.1:0", bind=None)
    line = server.log.wait_for_line(r"listening .*127\.0\.0\.1:[1-9]\d*")
    server.address = ("127.0.0.1", int(re.search(r"127\.0\.0\.1:(\d+)", line)[1]))
    assert server.get("/hello").status == 200


def test_v6(stage: Stage) -> None:
    server = stage.serve("toolbox:app", "--bind=[::1]:0", bind=None)
    line = server.log.wait_for_line(r"listening .*\[::1\]:[1-9]\d*")
    server.address = ("::1", int(re.search(r"\[::1\]:(\d+)", line)[1]))
    assert server.get("/hello").status == 200


def test_a_socket_that_somebody_else_took_over_is_left_alone(stage: Stage) -> None:
    """Only our own socket file is unlinked at the end."""
    server = stage.serve(bind="unix")
    path = stage.directory / "socket"
    server.leaves_nothing_at.clear()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert server.stop() == 0
        assert path.exists()
