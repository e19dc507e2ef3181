"""Workers that are replaced for their age, before anything is wrong with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from harness import Load, Record, Server, Stage, records, wait_record, wait_until
from harness.process import holds_for, scaled

pytestmark = pytest.mark.ironhorn("replaces a worker after it has gone")

FAILED = "recycle failed, the worker goes on"


def recyclings(server: Server, reason: str) -> list[Record]:
    """The records of replacements so far. There is at most one at a time: between two of them the
    replacement of the first has become ready.
    """
    found = records(server.log)
    begun = [index for index, each in enumerate(found) if each.message == "recycling"]
    for first, second in pairwise(begun):
        between = [each.message for each in found[first:second]]
        assert "ready" in between, f"two at once:\n{server.log.text()}"
    assert {found[index]["reason"] for index in begun} <= {reason}
    return [found[index] for index in begun]


def wait_recyclings(server: Server, count: int, reason: str, deadline: float = 20) -> None:
    wait_until(
        lambda: len(recyclings(server, reason)) >= count,
        deadline,
        f"{count} replacements for {reason}",
    )


@contextmanager
def counted(server: Server, at_least: int, at_most: int) -> Iterator[None]:
    """Never fewer workers than there should be, nor more than one of them beside those that
    leave.
    """
    over, seen = threading.Event(), set()

    def watch() -> None:
        while not over.wait(0.01):
            seen.add(len(server.workers()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert seen, "nothing was seen"
    assert at_least <= min(seen), seen
    assert max(seen) <= at_most, seen


def test_max_requests_under_load(stage: Stage) -> None:
    """0 failed; each worker goes when it has served what it drew, or a little more."""
    server = stage.serve(workers=3, max_requests=150, max_requests_jitter=50)
    # One that boots, and those that have been replaced and still end their connections.
    with counted(server, 3, 6), Load(server.address, keep_alive=8, one_request=8) as load:
        wait_recyclings(server, 6, "max_requests", 60)
        load.wait_more(100)
    load.stop().assert_none_failed()
    assert server.stop() == 0
    server.log.wait_for_end()
    gone = [each for each in records(server.log) if each.message == "exited"]
    served = [int(each["requests"]) for each in gone if each["reason"] == "max_requests"]
    assert len(served) >= 5
    assert min(served) >= 150
    assert len(set(served)) > 1
    assert not server.log.matching("worker died|recycle failed")


def test_without_jitter_they_still_go_one_by_one(stage: Stage) -> None:
    """All of them are worn at the same time."""
    server = stage.serve(workers=4, max_requests=40)
    with Load(server.address, keep_alive=0, one_request=12) as load:
        wait_recyclings(server, 8, "max_requests", 60)
    load.stop().assert_none_failed()


def test_a_worker_alone(stage: Stage) -> None:
    """There is always one to serve."""
    server = stage.serve(workers=1, max_requests=100)
    with counted(server, 1, 3), Load(server.address, keep_alive=4, one_request=4) as load:
        wait_recyclings(server, 3, "max_requests", 60)
    load.stop().assert_none_failed()


def test_health_checks_wear_nobody_out(stage: Stage) -> None:
    server = stage.serve(max_requests=5, health_path="/health")
    for _ in range(20):
        assert server.get("/health").body == b"ready\n"
    for _ in range(4):
        server.get("/hello")
    holds_for(lambda: not recyclings(server, "max_requests"), 0.3)
    server.get("/hello")
    wait_recyclings(server, 1, "max_requests")


@pytest.fixture
def deploy(stage: Stage) -> Callable[..., None]:
    """Puts a version of the shop on disk, as a deploy does."""

    def put(version: str, trouble: str = "") -> None:
        new = stage.directory / "shop.py.new"
        new.write_text(f"from deployed import make\n\napp = make({version!r}, {trouble!r})\n")
        new.rename(stage.directory / "shop.py")

    put("v1")
    return put


def test_broken_code_on_disk(stage: Stage, deploy: Callable[..., None]) -> None:
    """The old worker goes on and says so; mended code heals it by itself."""
    server = stage.serve("shop:app", workers=2, max_requests=30)
    server.allow_log(FAILED, "boot failed", "worker died", "Traceback", "RuntimeError", "raise")
    old = set(server.workers())
    with Load(server.address, keep_alive=4, one_request=4) as load:
        deploy("v2", "raises")
        record = wait_record(server.log, FAILED, 20)
        assert record["reason"] == "max_requests"
        assert "boot failure" in record["cause"]
        assert record["retry"].endswith("s")
        load.wait_more(100)
        assert old <= set(server.workers())
        deploy("v3")
        wait_until(lambda: b"v3" in load.report.bodies(), 45)
        wait_until(lambda: not old & set(server.workers()), 45)
    report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {b"v1", b"v3"}
    assert not server.log.matching("start failed")


@pytest.mark.alone
def test_a_slow_import_makes_nobody_wait(stage: Stage, deploy: Callable[..., None]) -> None:
    """The import takes 4 s, and for all of them the old worker serves."""
    server = stage.serve("shop:app", workers=2, max_requests=400)
    with Load(server.address, keep_alive=4, one_request=4, pace=0.05) as load:
        load.wait_more(100)
        calm = load.report.worst()
        deploy("v2", "is slow")
        moment = time.monotonic()
        wait_recyclings(server, 1, "max_requests", 30)
        wait_until(lambda: b"v2" in load.report.bodies(), 30)
        load.wait_more(50)
        assert load.report.worst(moment) <= calm + scaled(0.5)
    load.stop().assert_none_failed()


def test_max_memory(stage: Stage) -> None:
    """Above the soft limit a worker is replaced, and nobody notices."""
    server = stage.serve("leaking:app", workers=2, max_memory="100m")
    fat: set[bytes] = set()
    with Load(server.address, keep_alive=3, one_request=3) as load:
        wait_until(lambda: server.get("/leak?110").body == b"1")
        wait_recyclings(server, 1, "max_memory", 20)
        (record,) = recyclings(server, "max_memory")
        fat.add(record["pid"].encode())
        server.log.wait_for_line("exited .*reason=max_memory", 20)
        load.wait_more(100)
        assert server.get("/pid").body.strip() not in fat
    load.stop().assert_none_failed()
    assert not server.log.matching("worker died|too much memory")


def test_max_memory_hard(stage: Stage) -> None:
    """Above the hard limit it is killed at once, even if it is in a request."""
    server = stage.serve("leaking:app", workers=2, max_memory_hard="100m")
    server.allow_log("worker died", "too much memory")
    before = set(server.workers())
    assert server.get("/leak?140").status == 200
    record = wait_record(server.log, "worker died", 20)
    assert (record["reason"], record["signal"]) == ("max_memory_hard", "SIGKILL")
    wait_until(lambda: len(server.workers()) == 2 and len(before & set(server.workers())) == 1)
    server.wait_ready(3)
    assert not recyclings(server, "max_memory")


def test_max_lifetime(stage: Stage) -> None:
    """One after another, and never all of them in step."""
    server = stage.serve(workers=3, max_lifetime=2)
    began = time.monotonic()
    with counted(server, 3, 6), Load(server.address, keep_alive=4, one_request=4) as load:
        wait_recyclings(server, 3, "max_lifetime", 30)
        assert time.monotonic() - began >= 1.5
        wait_recyclings(server, 6, "max_lifetime", 30)
    load.stop().assert_none_failed()


def test_a_reload_comes_first(stage: Stage, deploy: Callable[..., None]) -> None:
    """It replaces everybody anyway."""
    server = stage.serve("shop:app", workers=2, max_requests=50)
    with Load(server.address, keep_alive=4, one_request=4) as load:
        wait_recyclings(server, 1, "max_requests")
        for version in ("v2", "v3"):
            deploy(version)
            server.reload()
        moment = time.monotonic()
        load.wait_more(200)
        assert set(load.report.bodies(moment)) == {b"v3"}
    load.stop().assert_none_failed()
    wait_until(lambda: len(server.workers()) <= 4)
