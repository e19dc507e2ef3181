"""Where settings come from, which one wins, and --print-config."""

from __future__ import annotations

import re

import pytest
import yaml
from harness import Stage, run_once

pytestmark = pytest.mark.ironhorn("another command line")


def printed(stage: Stage, *args: str, env: dict[str, str] | None = None) -> dict[str, object]:
    done = run_once(stage, "--print-config", *args, "toolbox:app", env=env)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_precedence(stage: Stage) -> None:
    """default < file < PORT and WEB_CONCURRENCY < IRONHORN_x < IRONHORN_CMD_ARGS < command line."""
    env: dict[str, str] = {}
    args: list[str] = []
    assert printed(stage)["workers"] == 1
    (stage.directory / "ironhorn.yaml").write_text("workers: 2\n")
    assert printed(stage)["workers"] == 2
    env["WEB_CONCURRENCY"] = "3"
    assert printed(stage, env=env)["workers"] == 3
    env["IRONHORN_WORKERS"] = "4"
    assert printed(stage, env=env)["workers"] == 4
    env["IRONHORN_CMD_ARGS"] = "--workers 5"
    assert printed(stage, env=env)["workers"] == 5
    args.append("--workers=6")
    assert printed(stage, *args, env=env)["workers"] == 6


def test_origins_are_told(stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text("\nworkers: 2\n")
    text = run_once(
        stage, "--print-config", "--timeout=7", "toolbox:app", env={"IRONHORN_NAME": "shop"}
    ).stdout
    for key, origin in {
        "workers": r"ironhorn\.yaml:2",
        "timeout": "command line",
        "name": "IRONHORN_NAME",
        "backlog": "default",
    }.items():
        assert re.search(rf"^{key}: .*# .*{origin}", text, re.MULTILINE), (key, text)


def test_print_config_can_be_fed_back_in(stage: Stage) -> None:
    args = [
        "--workers=3",
        "--bind=unix:a b",
        "--bind=[::1]:8080",
        "--env=A=1 # 2",
        "--keep-alive=1.5",
        "--umask=027",
    ]
    args += [
        '--access-logformat=%(h)s "%(r)s" \'',
        "--name=no",
        "--limit-request-body=1m",
        "--timeout=0",
    ]
    first = run_once(stage, "--print-config", *args, "toolbox:app")
    assert first.returncode == 0, first.stderr
    (stage.directory / "again.yaml").write_text(first.stdout)
    second = run_once(stage, "--print-config", "--config=again.yaml")
    assert second.returncode == 0, second.stderr
    assert yaml.safe_load(second.stdout) == yaml.safe_load(first.stdout)


def test_a_file_by_name(stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text("workers: 2\n")
    (stage.directory / "other.yaml").write_text("workers: 3\n")
    assert printed(stage, "-c", "other.yaml")["workers"] == 3


def test_port_means_all_interfaces(stage: Stage) -> None:
    assert printed(stage, env={"PORT": "5000"})["bind"] == ["0.0.0.0:5000"]
    assert printed(stage, "--bind=127.0.0.1:1", env={"PORT": "5000"})["bind"] == ["127.0.0.1:1"]


def test_short_flags(stage: Stage) -> None:
    args = [
        "-b",
        "127.0.0.1:9",
        "-w",
        "2",
        "-t",
        "3",
        "-e",
        "A=1",
        "-p",
        "pid",
        "-m",
        "027",
        "-n",
        "shop",
    ]
    settings = printed(stage, *args)
    assert (settings["workers"], settings["timeout"], settings["name"]) == (2, 3, "shop")


def test_gunicorns_odd_spelling(stage: Stage) -> None:
    assert printed(stage, "--limit-request-field_size=100")["limit_request_field_size"] == 100
    assert printed(stage, "--log-file=x.log")["error_logfile"] == "x.log"


def test_the_app_may_be_in_the_file(stage: Stage) -> None:
    server = stage.serve(None, config="app: toolbox:app\n")
    assert server.get("/hello").status == 200
