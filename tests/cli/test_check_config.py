"""--check-config: says what is wrong, and disturbs nothing."""

from __future__ import annotations

import re

import pytest
from harness import Stage, run_once
from harness.server import listen

pytestmark = pytest.mark.ironhorn("another command line")


def test_check_config_of_a_good_one(stage: Stage) -> None:
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 0, done.stderr
    assert list(stage.directory.glob("*.sock")) == []


def test_check_config_leaves_no_socket(stage: Stage) -> None:
    assert run_once(stage, "--check-config", "--bind=unix:checked", "toolbox:app").returncode == 0
    assert not (stage.directory / "checked").exists()


def test_check_config_does_not_disturb_a_running_server(stage: Stage) -> None:
    server = stage.serve(bind="unix", pid="server.pid")
    run_once(
        stage, "--check-config", f"--bind=unix:{server.address}", "--pid=server.pid", "toolbox:app"
    )
    assert server.get("/hello").status == 200
    assert (stage.directory / "server.pid").read_text().strip() == str(server.pid)


@pytest.mark.parametrize(
    ("args", "code", "pattern"),
    [
        (["toolbox:nothing"], 4, "nothing"),
        (["broken:app"], 3, "ValueError: at import"),
        (["--workers=many", "toolbox:app"], 2, "many"),
        (["--error-logfile=no/such/log", "toolbox:app"], 1, "no/such"),
    ],
)
def test_check_config_of_a_bad_one(stage: Stage, args: list[str], code: int, pattern: str) -> None:
    (stage.directory / "broken.py").write_text("raise ValueError('at import')\n")
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", *args)
    assert done.returncode == code, done.stderr
    assert pattern in done.stderr


def test_check_config_of_a_port_in_use(stage: Stage) -> None:
    with listen() as taken:
        done = run_once(
            stage, "--check-config", f"--bind=127.0.0.1:{taken.getsockname()[1]}", "toolbox:app"
        )
    # It may well be the server that the checked configuration is for.
    assert done.returncode == 0
    assert "note: " in done.stderr
    assert "in use" in done.stderr


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        (["--proxy-allow-from=1.2.3.4"], "--proxy-allow-from: found .* proxy_protocol is off"),
        (["--uwsgi-allow-from=1.2.3.4"], "--uwsgi-allow-from: found .* uwsgi protocol"),
        (["--handshake-timeout=3"], "--handshake-timeout: found .* certfile"),
    ],
)
def test_check_config_refuses_protection_that_is_not_there(
    stage: Stage, args: list[str], pattern: str
) -> None:
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", *args, "toolbox:app")
    assert done.returncode == 2, done.stderr
    assert re.search(pattern, done.stderr)
    assert "valid" not in done.stdout


def test_check_config_says_what_has_no_effect(stage: Stage) -> None:
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", "--queue=5", "toolbox:app")
    assert done.returncode == 0, done.stderr
    assert re.search('warning: --queue: found "5", no effect: with one thread', done.stderr)
    assert "configuration is valid" in done.stdout


def test_a_start_says_what_has_no_effect(stage: Stage) -> None:
    server = stage.serve(queue=5)
    server.allow_log("no effect")
    server.log.wait_for_line('WARN .*queue: found "5", no effect: with one thread')
