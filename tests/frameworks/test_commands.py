"""The commands in Procfiles, the container file and the systemd unit start the server."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from frameworks.example import EXAMPLES, NAMES, PATH
from harness import Stage, Wire, run_once
from harness.server import APPS

pytestmark = [pytest.mark.frameworks, pytest.mark.ironhorn("the commands name ironhorn")]


def web_process(procfile: Path) -> list[str]:
    """The command of the process type `web`."""
    (line,) = re.findall(r"^web: (.+)$", procfile.read_text(), re.MULTILINE)
    return shlex.split(line)


def container_command() -> list[str]:
    """CMD of the container file, which has to be in exec form: a JSON list."""
    (line,) = re.findall(r"^CMD (\[.*\])$", (EXAMPLES / "Dockerfile").read_text(), re.MULTILINE)
    return json.loads(line)


def unit() -> configparser.SectionProxy:
    """The [Service] section of the systemd unit."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(EXAMPLES / "ironhorn.service")
    return parser["Service"]


COMMANDS = {
    "Procfile": (EXAMPLES / "hello", web_process(EXAMPLES / "Procfile")),
    "flask_app/Procfile": (
        EXAMPLES / "flask_app",
        web_process(EXAMPLES / "flask_app" / "Procfile"),
    ),
    "Dockerfile": (EXAMPLES / "hello", container_command()),
}


@pytest.fixture
def port() -> Iterator[int]:
    """A port for the server: held, but not listening, so that nobody else is given it.

    With SO_REUSEADDR on both sides that leaves the server free to bind it (socket(7)).
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("0.0.0.0", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_platform_starts_it(stage: Stage, port: int, name: str) -> None:
    """In its directory, with the variable PORT."""
    directory, command = COMMANDS[name]
    in_directory = ["sh", "-c", f"cd {shlex.quote(str(directory))} && exec {shlex.join(command)}"]
    server = stage.serve(
        None, bind=None, command=in_directory, env={"PATH": PATH, "PORT": str(port)}
    )
    server.address = ("127.0.0.1", port)
    response = server.get("/")
    assert response.status == 200
    assert b"on Ironhorn" in response.body or b"from Ironhorn" in response.body
    server.output.wait_for_line(r'"GET / HTTP/1.1" 200')


def test_a_platform_says_how_many_workers(stage: Stage) -> None:
    server = stage.serve("app:app", chdir=EXAMPLES / "hello", env={"WEB_CONCURRENCY": "3"})
    server.wait_ready(3)
    assert len(server.workers()) == 3


def test_the_unit_starts_it(stage: Stage) -> None:
    """The unit's command, with a socket passed as systemd passes that of the socket unit."""
    path = stage.directory / "ironhorn.sock"
    _, *arguments = shlex.split(unit()["ExecStart"])
    launcher = [sys.executable, str(APPS / "activate.py"), str(stage.directory / "port"), str(path)]
    stage.serve(
        None,
        *arguments,
        bind=None,
        chdir=EXAMPLES / "hello",
        command=[*launcher, "--", *stage.flavour.command],
    )
    with Wire(str(path)) as wire:
        assert wire.get("/").read_response().status == 200


def test_the_unit_signals_as_the_server_expects(stage: Stage) -> None:
    service = unit()
    resolved = yaml.safe_load(run_once(stage, "--print-config", "app:app").stdout)
    assert int(service["TimeoutStopSec"]) > resolved["graceful_timeout"]
    assert service["KillMode"] == "mixed"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "KillSignal" not in service, "TERM, which systemd sends by itself, is the graceful stop"


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_complete(stage: Stage, name: str) -> None:
    """A few lines that say what it is, and settings that the server accepts."""
    directory = EXAMPLES / name
    assert (directory / "README.md").read_text().startswith(f"# {name}\n")
    done = run_once(stage, "--print-config", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["app"]
