"""`reload --wait`: what a deploy script relies on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Load, Server, Stage, wait_until

pytestmark = pytest.mark.ironhorn("has another control interface")

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "deploy.sh"


def answers(server: Server, version: bytes) -> None:
    """From now on, whoever takes the request."""
    assert [server.get("/").body for _ in range(20)] == [version] * 20


def deploy(stage: Stage, version: str, trouble: str = "", where: str = ".") -> None:
    """New code on disk, put there at once."""
    directory = stage.directory / where
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / "shop.py.new"
    new.write_text(f"from deployed import make\n\napp = make({version!r}, {trouble!r})\n")
    new.rename(directory / "shop.py")


def test_new_code_serves_when_it_returns(stage: Stage, ctl) -> None:
    deploy(stage, "v1")
    server = stage.serve("shop:app", workers=2)
    with Load(server.address) as load:
        load.wait_more(20)
        deploy(stage, "v2")
        done = ctl("reload", "--wait", deadline=60)
        assert re.fullmatch(r"reloaded: generation 2, after [\d.]+s\n", done.stdout)
        answers(server, b"v2")
        deploy(stage, "v3")
        reply = ctl.json("reload", "--wait")
        assert (reply["ok"], reply["generation"]) == (True, 3)
        answers(server, b"v3")
    load.stop().assert_none_failed()
    assert ctl.json("status")["last_reload"]["state"] == "done"


def test_without_wait_it_returns_at_once(stage: Stage, ctl, gate) -> None:
    deploy(stage, "v1")
    server = stage.serve("shop:app")
    gate("import")
    deploy(stage, "v2", "hangs")
    assert ctl("reload").stdout == "reloading: generation 2\n"
    assert ctl.json("status")["state"] == "reloading"
    answers(server, b"v1")


def test_code_that_does_not_import(stage: Stage, ctl) -> None:
    deploy(stage, "v1")
    server = stage.serve("shop:app", workers=2)
    server.allow_log("boot failed", "reload failed", "worker died", "Traceback")
    deploy(stage, "v2", "raises")
    done = ctl("reload", "--wait", code=1, deadline=60)
    assert not done.stdout
    reason = "importing shop failed: RuntimeError: this code is broken on purpose"
    assert done.stderr.endswith(f"boot failure: {reason}\n")
    reply = ctl.json("reload", "--wait", code=1)
    assert reply["ok"] is False
    assert reply["error"].endswith(reason)
    answers(server, b"v1")
    last = ctl.json("status")["last_reload"]
    assert (last["state"], last["generation"], last["reason"]) == ("failed", 3, reply["error"])
    deploy(stage, "v3")
    ctl("reload", "--wait")
    answers(server, b"v3")


@pytest.mark.parametrize("wait", [["--wait"], []])
def test_settings_that_are_broken(stage: Stage, ctl, wait: list[str]) -> None:
    server = stage.serve("toolbox:app", config="workers: 1\n")
    server.allow_log("reload failed")
    (stage.directory / "ironhorn.yaml").write_text("workers: 1\nwrokers: 2\n")
    done = ctl("reload", *wait, code=1)
    expected = 'ironhorn.yaml:2: wrokers: unknown setting, did you mean "workers"?'
    assert done.stderr == f"ironhorn: {expected}\n"
    assert ctl.json("reload", *wait, code=1)["error"] == expected
    (stage.directory / "ironhorn.yaml").write_text("workers: [\n")
    assert "not valid YAML" in ctl("reload", *wait, code=1).stderr
    assert server.get("/hello").status == 200


def test_a_reload_that_a_later_one_replaces(stage: Stage, ctl, gate) -> None:
    """Whoever waits is told how the later one ends: that is what serves."""
    deploy(stage, "v1")
    server = stage.serve("shop:app")
    door = gate("import")
    deploy(stage, "v2", "hangs")
    first = ctl.begin("--json", "reload", "--wait")
    door.wait_arrived()
    deploy(stage, "v3")
    later = ctl.json("reload", "--wait")
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert '"generation":3' in output
    assert later["generation"] == 3
    answers(server, b"v3")


def test_whoever_has_waited_long_enough(stage: Stage, ctl, gate) -> None:
    deploy(stage, "v1")
    server = stage.serve("shop:app")
    door = gate("import")
    deploy(stage, "v2", "hangs")
    late = ctl("reload", "--wait", "--timeout", "0.5", code=1)
    assert late.stderr.endswith("within 0.5 s: the reload goes on\n")
    client = ctl.begin("reload", "--wait")
    wait_until(lambda: ctl.json("status")["last_reload"]["generation"] == 3)
    client.kill()
    client.communicate()
    door.wait_arrived()
    door.let_pass(2)
    wait_until(lambda: ctl.json("status")["last_reload"]["state"] == "done")
    # Nobody has waited for the old worker, which may take one more.
    wait_until(lambda: server.get("/").body == b"v2")


def test_a_server_that_is_told_to_stop_meanwhile(stage: Stage, ctl, gate) -> None:
    deploy(stage, "v1")
    server = stage.serve("shop:app")
    server.allow_log("quick timeout", "worker died")
    gate("import")
    deploy(stage, "v2", "hangs")
    client = ctl.begin("reload", "--wait")
    wait_until(lambda: ctl.json("status")["state"] == "reloading")
    assert server.stop() == 0
    _, errors = client.communicate(timeout=30)
    assert client.returncode == 1
    assert errors == "ironhorn: the server is stopping\n"


class Releases:
    """The layout of examples/deploy.sh: releases, and a link to the one that serves."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.home = stage.directory / "shop"

    def add(self, version: str, trouble: str = "") -> Path:
        deploy(self.stage, version, trouble, f"shop/releases/{version}")
        return self.home / "releases" / version

    def deploy(self, release: Path, *, code: int) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", SCRIPT, self.home, release],
            env=self.stage.environment({"PATH": path}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stderr
        return done

    def serving(self) -> str:
        return os.readlink(self.home / "current")


def test_the_example_deploys_or_rolls_back(stage: Stage) -> None:
    releases = Releases(stage)
    first = releases.add("v1")
    (releases.home / "current").symlink_to(first)
    server = stage.serve("shop:app", chdir="shop/current", workers=2)
    server.allow_log("boot failed", "reload failed", "worker died", "Traceback")
    with Load(server.address) as load:
        load.wait_more(20)
        second = releases.add("v2")
        assert "v2 serves" in releases.deploy(second, code=0).stdout
        assert releases.serving() == str(second)
        answers(server, b"v2")
        broken = releases.add("v3", "raises")
        failed = releases.deploy(broken, code=1)
        assert "boot failure" in failed.stderr
        assert "v3 does not serve" in failed.stderr
        assert releases.serving() == str(second)
        answers(server, b"v2")
        missing = releases.deploy(releases.home / "releases" / "v4", code=2)
        assert "no such release" in missing.stderr
        assert releases.serving() == str(second)
    load.stop().assert_none_failed()


def test_another_socket_waits_for_a_restart(stage: Stage, ctl) -> None:
    server = stage.serve(config="control: here.ctl\n")
    (stage.directory / "ironhorn.yaml").write_text("control: there.ctl\n")
    with server.complains("WARN .*control has changed: the socket stays as it is until a restart"):
        ctl("reload", "--wait", "--socket=here.ctl")
    assert not (stage.directory / "there.ctl").exists()
