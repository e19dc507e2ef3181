"""HUP reads the settings again: all of them, or, when one is wrong, none."""

from __future__ import annotations

import json
import signal
import socket

import pytest
from harness import Load, Server, Stage, Wire, wait_until

pytestmark = pytest.mark.ironhorn("is configured by Python")


def config(workers: int = 2, *binds: str, **more: object) -> str:
    """The text of ironhorn.yaml (JSON is YAML)."""
    return (
        json.dumps({"workers": workers, **({"bind": list(binds)} if binds else {}), **more}) + "\n"
    )


def answer(path: object) -> bytes:
    with Wire(str(path)) as wire:
        return wire.get("/", "Connection: close").read_response().body


def test_the_number_of_workers(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", config=config(1))
    with Load(server.address, keep_alive=4, one_request=4) as load:
        for count in (3, 1, 2):
            load.wait_more(30)
            shop.write("ironhorn.yaml", config(count))
            server.reload()
            server.wait_workers(count)
    load.stop().assert_none_failed()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("workers: many\n", "ironhorn.yaml:1"),
        ("workers: 2\n\nwokers: 3\n", "did you mean"),
        ("workers: [2\n", "ironhorn.yaml"),
        ("workers: 2\ntimeout: -1\n", "ironhorn.yaml:2"),
        ("workers: 2\nchdir: ./nowhere\n", "nowhere"),
    ],
)
def test_a_broken_file_changes_nothing(stage: Stage, shop, text: str, why: str) -> None:
    server = stage.serve("shop:app", config=config(2))
    server.allow_log("reload failed")
    shop.write("ironhorn.yaml", text)
    shop.deploy("v2")
    with Load(server.address, keep_alive=2, one_request=2) as load:
        load.wait_more(20)
        shop.failed_reload(server, why)
        load.wait_more(20)
    report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {b"v1"}
    shop.write("ironhorn.yaml", config(2))
    server.reload()
    assert server.get("/").body == b"v2"


def test_a_file_that_went_away_is_no_error_when_none_was_named(stage: Stage, shop) -> None:
    server = stage.serve("shop:app", config=config(2))
    (stage.directory / "ironhorn.yaml").unlink()
    server.reload()
    server.wait_workers(1)


def unix_server(stage: Stage, *names: str) -> Server:
    server = stage.serve(
        "shop:app", bind=None, config=config(2, *(f"unix:{name}" for name in names))
    )
    server.leaves_nothing_at.extend(stage.directory / name for name in ("a", "b", "c"))
    server.address = str(stage.directory / names[0])
    return server


def test_another_address(stage: Stage, shop) -> None:
    """The new one is bound first; the old one is dropped, and its file with it, when the old
    workers are gone.
    """
    server = unix_server(stage, "a")
    a, b = stage.directory / "a", stage.directory / "b"
    assert answer(a) == b"v1"
    shop.write("ironhorn.yaml", config(2, "unix:b"))
    shop.deploy("v2")
    server.reload()
    assert answer(b) == b"v2"
    wait_until(lambda: not a.exists(), what="the old socket file is gone")
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError):  # noqa: PT011
        client.connect(str(a))


def test_one_address_more_and_one_less_under_load(stage: Stage, shop) -> None:
    """The address that stays serves without a gap."""
    server = unix_server(stage, "a", "b")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(30)
        shop.write("ironhorn.yaml", config(2, "unix:a", "unix:b", "unix:c"))
        server.reload()
        assert answer(stage.directory / "c") == b"v1"
        load.wait_more(30)
        shop.write("ironhorn.yaml", config(2, "unix:a"))
        server.reload()
        load.wait_more(30)
    load.stop().assert_none_failed()
    assert not (stage.directory / "c").exists()


def test_the_old_address_serves_until_the_new_workers_are_ready(stage: Stage, shop) -> None:
    server = unix_server(stage, "a")
    gate = stage.gate("import")
    shop.write("ironhorn.yaml", config(1, "unix:b"))
    shop.deploy("v2", "hangs")
    server.send(signal.SIGHUP)
    gate.wait_arrived()
    assert answer(stage.directory / "a") == b"v1"
    with Wire(str(stage.directory / "b")) as waiting:
        waiting.get("/")
        gate.let_pass(4)
        assert waiting.read_response().body == b"v2"
    server.log.wait_for_line(r"\breloaded\b")


def test_an_address_that_cannot_be_bound_changes_nothing(stage: Stage, shop) -> None:
    server = unix_server(stage, "a")
    server.allow_log("reload failed")
    shop.write("ironhorn.yaml", config(2, "unix:a", "unix:no/such/directory/b"))
    shop.failed_reload(server, "no/such/directory")
    assert answer(stage.directory / "a") == b"v1"


def test_an_address_in_use_changes_nothing(stage: Stage, shop) -> None:
    server = unix_server(stage, "a")
    server.allow_log("reload failed")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(stage.directory / "b"))
        taken.listen()
        shop.write("ironhorn.yaml", config(2, "unix:a", "unix:b"))
        shop.failed_reload(server, "in use")
        assert answer(stage.directory / "a") == b"v1"
    (stage.directory / "b").unlink()


def test_the_environment_of_the_app(stage: Stage) -> None:
    server = stage.serve("toolbox:app", config=config(1, env={"SHOP": "one"}))
    assert json.loads(server.get("/environment").body)["env"]["SHOP"] == "one"
    (stage.directory / "ironhorn.yaml").write_text(config(1, env={"SHOP": "two"}))
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b")
    wait_until(lambda: json.loads(server.get("/environment").body)["env"]["SHOP"] == "two")


def test_limits_and_timeouts_and_access_log(stage: Stage) -> None:
    server = stage.serve("toolbox:app", config=config(1))
    text = config(1, limit_request_line=100, access_logfile="-", access_logformat="%(s)s %(U)s")
    (stage.directory / "ironhorn.yaml").write_text(text)
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\bexited reason=asked\b")
    assert server.get("/" + "a" * 200).status == 414
    assert server.get("/hello").status == 200
    server.output.wait_for_line("^200 /hello$")
