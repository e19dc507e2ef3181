"""Limits of the system that are reached: disk, descriptors."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable

import pytest
from harness import Load, Server, Stage, request
from harness.measure import descriptors

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]

TINY_SPOOL = 'mount -t tmpfs -o size=1m none "$TMPDIR" && exec "$@"'
UNSHARES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
BODY = 8 << 20


def is_permitted(inside: list[str]) -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    mounting = [*inside, "sh", "-c", "mount -t tmpfs none /tmp"]
    return subprocess.run(mounting, capture_output=True).returncode == 0


def test_a_disk_that_is_full_for_bodies(stage: Stage) -> None:
    """ENOSPC while a body is spooled: that request gets an error, those that fit are served, and
    room that was used is given back. Where nothing may be mounted, files may not grow.
    """
    inside = next(filter(is_permitted, UNSHARES), None)
    tiny = [*inside, "sh", "-c", TINY_SPOOL, "sh"] if inside else []
    server = stage.serve(command=[*tiny, *stage.flavour.command])
    if not tiny:
        resource.prlimit(server.worker(), resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    server.allow_log("ERROR", "body", "No space left", "File too large")
    for _ in range(3):
        with server.connect() as wire:
            wire.send(request("POST", "/digest", f"Content-Length: {BODY}"))
            wire.send_what_fits(b"x" * BODY)
            assert wire.read_response(deadline=15).status in (500, 503, 507)
        small = b"y" * (700 << 10)
        with server.connect() as wire:
            wire.send(request("POST", "/digest", body=small))
            assert wire.read_response().body.startswith(b"%d " % len(small))


def test_a_master_without_descriptors(
    stage: Stage, vitals: Callable[[Server, int], object]
) -> None:
    """It cannot start another worker: those that there are serve, it tries again, and nothing is
    left of the attempts.
    """
    server = stage.serve(workers=2)
    server.allow_log("fork", "descriptors", "open files", "respawn delayed", "Too many")
    signs = vitals(server, 2)
    hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (descriptors(server.pid), hard))
    with Load(server.address, keep_alive=3, one_request=3) as load:
        with server.complains("(?i)too many open files"):
            server.send(signal.SIGTTIN)
        load.wait_more(100)
        assert len(server.workers()) == 2
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        server.wait_workers(3, 40)
        server.send(signal.SIGTTOU)
        server.wait_workers(2)
        load.wait_more(50)
    load.stop().assert_none_failed()
    signs.wait_recovered()


def test_a_reload_without_descriptors(
    stage: Stage, vitals: Callable[[Server, int], object]
) -> None:
    """The old workers serve, at full strength, until a reload succeeds."""
    server = stage.serve(workers=2)
    server.allow_log("fork", "descriptors", "open files", "reload failed", "Too many", "delayed")
    signs = vitals(server, 2)
    hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (descriptors(server.pid), hard))
    before = set(server.workers())
    with Load(server.address, keep_alive=3, one_request=3) as load:
        with server.complains("(?i)too many open files"):
            server.send(signal.SIGHUP)
        load.wait_more(100)
        assert set(server.workers()) == before
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        server.reload()
    load.stop().assert_none_failed()
    signs.wait_recovered()
