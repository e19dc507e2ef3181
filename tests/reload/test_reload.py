"""HUP under load: new code, broken code, slow code. No request fails, whatever is deployed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import Load, Stage, wait_until
from harness.process import scaled

pytestmark = pytest.mark.ironhorn("has another notion of a reload")


def test_ten_reloads_under_load(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=4)
    with Load(server.address) as load:
        for number in range(2, 12):
            load.wait_more(50)
            shop.deploy(f"v{number}")
            server.reload()
            moment = time.monotonic()
            load.wait_more(50)
            wait_until(lambda moment=moment: load.report.bodies(moment))
            assert set(load.report.bodies(moment)) == {f"v{number}".encode()}
            assert len(server.workers()) == 4
    report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {f"v{number}".encode() for number in range(1, 12)}
    assert shop.imports() == {f"v{number}": 4 for number in range(1, 12)}


def test_broken_code_never_serves(stage: Stage, shop) -> None:
    """SyntaxError, raising at import, hanging at import: the old code answers; mended, the new code
    does.
    """
    server = stage.serve("shop:app", workers=4, boot_timeout=2)
    server.allow_log("boot failed", "reload failed", "worker died", "Traceback")
    stage.gate("import")
    with Load(server.address) as load:
        load.wait_more(50)

        shop.write("shop.py", "def app(:\n")
        lines = shop.failed_reload(server, "boot")
        assert sum(line.startswith("SyntaxError") for line in lines) == 1
        assert_one_traceback(lines)

        shop.deploy("raises", "raises")
        lines = shop.failed_reload(server, "boot")
        assert lines.count("RuntimeError: this code is broken on purpose") == 1
        assert_one_traceback(lines)

        shop.deploy("hangs", "hangs")
        started = time.monotonic()
        shop.failed_reload(server, "boot timeout")
        assert 1.9 <= time.monotonic() - started <= 2 + scaled(2.0)

        load.wait_more(50)
        assert set(load.report.bodies()) == {b"v1"}
        shop.deploy("v2")
        server.reload()
        moment = time.monotonic()
        load.wait_more(50)
        wait_until(lambda: load.report.bodies(moment))
        assert set(load.report.bodies(moment)) == {b"v2"}
    load.stop().assert_none_failed()


def assert_one_traceback(lines: list[str]) -> None:
    """One clear report, not one for each worker (a SyntaxError has no Traceback line of its own
    frames).
    """
    assert sum("Traceback (most recent call last)" in line for line in lines) == 1, "\n".join(lines)


def test_an_app_that_went_away(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2)
    server.allow_log("boot failed", "reload failed", "worker died", "Traceback")
    (stage.directory / "shop.py").unlink()
    shop.failed_reload(server, "")
    assert server.get("/").body == b"v1"
    shop.write("shop.py", "app = 'not callable'\n")
    shop.failed_reload(server, "")
    assert server.get("/").body == b"v1"


@pytest.mark.alone
def test_a_slow_import_makes_nobody_wait(stage: Stage, shop) -> None:
    """The import takes 4 s; no request waits more than 0.5 s longer than without a reload."""
    server = stage.serve("shop:app", workers=2)
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(400)
        calm = load.report.worst()
        shop.deploy("v2", "is slow")
        moment = time.monotonic()
        server.reload()
        load.wait_more(50)
        assert load.report.worst(moment) <= calm + scaled(0.5)
    report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {b"v1", b"v2"}


def test_a_request_in_flight_is_finished_by_the_old_code(stage: Stage, shop) -> None:
    server = stage.serve("shop:app")
    slow = stage.gate("slow")
    with server.connect() as wire:
        wire.get("/meet?slow")
        slow.wait_arrived()
        shop.deploy("v2")
        server.send(signal.SIGHUP)
        wait_until(lambda: server.get("/").body == b"v2", what="the new code answers")
        slow.let_pass()
        assert wire.read_response().body == b"v1"


def test_idle_connections_are_not_cut_under_a_request(stage: Stage, shop) -> None:
    """A kept connection gets its next request answered, also when its worker retires meanwhile."""
    server = stage.serve("shop:app", workers=2, keepalive=30)
    kept = [server.connect() for _ in range(20)]
    for wire in kept:
        assert wire.get("/").read_response().body == b"v1"
    shop.deploy("v2")
    server.send(signal.SIGHUP)
    wait_until(
        lambda: all(server.get("/").body == b"v2" for _ in range(10)), what="the new code answers"
    )
    # Until then a worker of the old code may serve beside those of the new.
    server.log.wait_for_line(r"\breloaded\b")
    for wire in kept:
        with wire:
            response = wire.get("/").read_response()
            assert response.status == 200
            assert response.closes or response.body == b"v2"


def test_idle_connections_do_not_hold_the_old_workers_for_ever(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2, keepalive=1)
    with server.connect() as wire:
        wire.get("/").read_response()
        shop.deploy("v2")
        server.reload()
        wire.wait_closed()


def test_a_reload_during_a_reload_takes_the_newest_code(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2)
    gate = stage.gate("import")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        shop.deploy("v2", "hangs")
        server.send(signal.SIGHUP)
        gate.wait_arrived()
        shop.deploy("v3")
        server.send(signal.SIGHUP)
        server.log.wait_for_line(r"\breloaded\b")
        wait_until(lambda: len(server.workers()) == 2)
        moment = time.monotonic()
        load.wait_more(50)
        wait_until(lambda: load.report.bodies(moment))
        assert set(load.report.bodies(moment)) == {b"v3"}
    report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {b"v1", b"v3"}


@pytest.mark.alone
def test_signals_work_during_a_reload(stage: Stage, shop) -> None:
    """The master never blocks: it stops at once although a worker of the new generation hangs at
    import.
    """
    server = stage.serve("shop:app", workers=2)
    gate = stage.gate("import")
    shop.deploy("v2", "hangs")
    server.send(signal.SIGHUP)
    gate.wait_arrived()
    assert server.get("/").body == b"v1"
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < scaled(1.0)


def test_a_worker_that_dies_during_a_reload_is_replaced(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2)
    server.allow_log("worker died")
    before = server.workers()
    gate = stage.gate("import")
    shop.deploy("v2", "hangs")
    server.send(signal.SIGHUP)
    gate.wait_arrived()
    os.kill(before[0], signal.SIGKILL)
    server.log.wait_for_line("worker died")
    assert server.get("/").body == b"v1"
    shop.deploy("v2")
    gate.let_pass(8)
    server.log.wait_for_line(r"\breloaded\b")
    wait_until(lambda: len(server.workers()) == 2 and not set(before) & set(server.workers()))
    assert server.get("/").body == b"v2"


def test_ttin_is_kept_or_replaced_by_a_reload_but_never_lost_half_way(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2)
    server.send(signal.SIGTTIN)
    server.wait_workers(3)
    shop.deploy("v2")
    server.reload()
    assert len(server.workers()) in (2, 3)
    assert server.get("/").body == b"v2"


def test_the_log_tells_the_story(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", workers=2)
    shop.deploy("v2")
    server.reload()
    server.log.wait_for_line("reloading")
    server.log.wait_for_line(r"worker=\d+ generation=2 pid=\d+ ready", count=2)
    server.log.wait_for_line(r"worker=\d+ generation=1 pid=\d+ exited .*asked", count=2)
