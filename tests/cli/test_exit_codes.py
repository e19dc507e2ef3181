"""A start that fails ends at once, with its code, and says why exactly once."""

from __future__ import annotations

import os
import re
import socket

import pytest
from harness import Stage, run_once
from harness.server import listen

pytestmark = pytest.mark.ironhorn("other exit codes and messages")

ANY = "--bind=127.0.0.1:0"


def write(stage: Stage, text: str) -> None:
    (stage.directory / "broken.py").write_text(text)


@pytest.mark.parametrize(
    "app", ["nowhere:app", "nowhere", "toolbox:nothing", "toolbox:app.nothing", "no.where:app"]
)
@pytest.mark.parametrize("workers", [1, 4])
def test_an_app_that_is_not_there(refuses, app: str, workers: int) -> None:
    missing = app.partition(":")[0] if app.startswith("no") else "nothing"
    done = refuses(4, missing.partition(".")[0], args=[ANY, f"--workers={workers}", app])
    name = re.escape(app.partition(":")[0])
    assert len(re.findall(f" ERROR .*{name}", done.stderr)) == 1, done.stderr


@pytest.mark.parametrize(
    "app", ["toolbox:PATHS", "toolbox:DIRECTORY", "broken:factory()", "broken:number"]
)
def test_an_app_that_cannot_be_called(refuses, stage: Stage, app: str) -> None:
    write(stage, "def factory():\n    return None\n\n\nnumber = 7\n")
    refuses(4, "callable|nothing|DIRECTORY", args=[ANY, app])


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("raise ValueError('broken on purpose')\n", "ValueError: broken on purpose"),
        (
            "import no_such_module_at_all\n",
            "ModuleNotFoundError: No module named 'no_such_module_at_all'",
        ),
        ("def app(:\n", "SyntaxError"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
        ("def app():\n    raise KeyError('in the factory')\n", "KeyError: 'in the factory'"),
    ],
    ids=["raises", "import error inside", "syntax error", "exits", "factory raises"],
)
def test_an_app_that_does_not_boot(stage: Stage, text: str, last: str, workers: int) -> None:
    """Exit code 3 and the traceback once, however many workers there are."""
    write(stage, text)
    spec = "broken:app()" if "factory" in text else "broken:app"
    done = run_once(stage, ANY, f"--workers={workers}", spec)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1, done.stderr
    ends = [line for line in done.stderr.splitlines() if line.startswith(last)]
    assert len(ends) == 1, done.stderr
    assert "broken.py" in done.stderr


def test_no_more_workers_than_cpus_import_a_broken_app(stage: Stage) -> None:
    """The others wait until one serves, or for a second: which a busy machine may take."""
    write(stage, "open('imports', 'a').write('.')\nraise ValueError('broken on purpose')\n")
    imports = stage.directory / "imports"

    def import_it() -> int:
        imports.write_text("")
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            done = run_once(stage, ANY, "--workers=8", "broken:app")
        finally:
            os.sched_setaffinity(0, allowed)
        assert done.returncode == 3, done.stderr
        return len(imports.read_text())

    assert any(import_it() == 1 for _ in range(3))


def test_a_worker_that_dies_at_import(stage: Stage) -> None:
    """It could not boot either."""
    write(stage, "import os\nos._exit(9)\n")
    done = run_once(stage, ANY, "broken:app")
    assert done.returncode == 3, done.stderr
    assert "exit code 9" in done.stderr


def test_a_worker_that_hangs_at_import(stage: Stage) -> None:
    stage.gate("boot")
    done = run_once(stage, ANY, "--boot-timeout=1", "slow_boot:app")
    assert done.returncode == 3, done.stderr
    assert "boot timeout" in done.stderr


def test_a_port_in_use(refuses) -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        refuses(
            1, rf"127\.0\.0\.1:{port}", "in use", args=[f"--bind=127.0.0.1:{port}", "toolbox:app"]
        )


def test_a_live_unix_socket(refuses, stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(stage.directory / "taken"))
        taken.listen()
        refuses(1, "taken", "in use", args=["--bind=unix:taken", "toolbox:app"])
        assert (stage.directory / "taken").exists()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(stage.directory / "taken"))


def test_one_of_several_addresses_in_use(refuses, stage: Stage) -> None:
    with listen() as taken:
        bad = f"--bind=127.0.0.1:{taken.getsockname()[1]}"
        refuses(1, "in use", args=["--bind=unix:first", bad, "toolbox:app"])
    assert not (stage.directory / "first").exists()


@pytest.mark.parametrize(
    ("bind", "pattern"),
    [
        ("203.0.113.1:8000", r"203\.0\.113\.1:8000"),
        ("unix:no/such/directory/socket", r"no/such/directory"),
        ("fd://99", r"fd://99"),
        ("fd://0", r"fd://0"),
    ],
)
def test_an_address_that_cannot_be_bound(refuses, bind: str, pattern: str) -> None:
    refuses(1, pattern, args=[f"--bind={bind}", "toolbox:app"])


def test_a_path_that_is_no_socket_is_not_replaced(refuses, stage: Stage) -> None:
    (stage.directory / "data").write_text("precious")
    refuses(1, "data", args=["--bind=unix:data", "toolbox:app"])
    assert (stage.directory / "data").read_text() == "precious"


@pytest.mark.parametrize("flag", ["--error-logfile", "--access-logfile"])
def test_a_log_file_that_cannot_be_opened(refuses, flag: str) -> None:
    refuses(1, "no/such/directory", args=[ANY, f"{flag}=no/such/directory/log", "toolbox:app"])


def test_a_directory_that_is_not_there(stage: Stage) -> None:
    done = run_once(stage, ANY, "--chdir=nowhere", "toolbox:app")
    assert done.returncode in (1, 2)
    assert "nowhere" in done.stderr
