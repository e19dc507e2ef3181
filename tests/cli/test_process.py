"""The process: pidfile, title, workers, standard streams."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from harness import Server, Stage, run_once, wait_until

pytestmark = pytest.mark.ironhorn("another command line")


def environment(server: Server) -> dict[str, object]:
    return json.loads(server.get("/environment").body)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_pidfile(stage: Stage) -> None:
    server = stage.serve(pid="server.pid")
    path = stage.directory / "server.pid"
    assert path.read_text() == f"{server.pid}\n"
    assert mode(path) == 0o644


def test_a_stale_pidfile_is_replaced(stage: Stage) -> None:
    done = run_once(stage, "--version")
    assert done.returncode == 0
    (stage.directory / "server.pid").write_text("4194304\n")
    server = stage.serve(pid="server.pid")
    assert (stage.directory / "server.pid").read_text() == f"{server.pid}\n"


@pytest.mark.parametrize("text", ["", "not a number\n"])
def test_a_pidfile_with_nonsense_is_replaced(stage: Stage, text: str) -> None:
    (stage.directory / "server.pid").write_text(text)
    server = stage.serve(pid="server.pid")
    assert (stage.directory / "server.pid").read_text() == f"{server.pid}\n"


def test_the_pidfile_of_a_running_server(refuses, stage: Stage) -> None:
    server = stage.serve(pid="server.pid")
    refuses(
        1,
        str(server.pid),
        r"server\.pid",
        args=["--bind=127.0.0.1:0", "--pid=server.pid", "toolbox:app"],
    )
    assert (stage.directory / "server.pid").read_text() == f"{server.pid}\n"


def test_the_pidfile_goes_when_the_start_fails(stage: Stage) -> None:
    run_once(stage, "--bind=127.0.0.1:0", "--pid=server.pid", "nowhere:app")
    assert not (stage.directory / "server.pid").exists()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def test_the_process_title(stage: Stage) -> None:
    server = stage.serve(name="shop", workers=2)
    wait_until(lambda: "master" in command_line(server.pid), what="the master's title")
    assert "shop" in command_line(server.pid)
    for pid in server.workers():
        wait_until(lambda pid=pid: "worker" in command_line(pid), what="the worker's title")
        assert "shop" in command_line(pid)


def test_the_environment_survives_the_title(stage: Stage) -> None:
    """The title is written over argv, never over the environment."""
    server = stage.serve("toolbox:app", name="x" * 200, env={"MARKER": "kept"})
    assert environment(server)["env"]["MARKER"] == "kept"
    assert b"MARKER=kept" in Path(f"/proc/{server.worker()}/environ").read_bytes()


def test_workers_auto(stage: Stage) -> None:
    server = stage.serve("toolbox:app", "--workers=auto")
    server.wait_workers(len(os.sched_getaffinity(0)))


def test_a_command_line_of_gunicorns_with_its_kind_of_worker(stage: Stage) -> None:
    server = stage.serve("toolbox:app", "-k", "gthread", "--threads", "4", "-w", "2", ready=False)
    server.wait_ready(2)
    assert json.loads(server.get("/environ").body)["wsgi.multithread"] is True
    server.wait_workers(2)


def test_python_m_serves(stage: Stage) -> None:
    server = stage.serve(command=[sys.executable, "-m", "ironhorn"])
    assert server.get("/hello").status == 200
    assert server.stop(signal.SIGTERM) == 0


def test_what_the_app_prints(stage: Stage) -> None:
    """stdout stays stdout, unless capture_output sends it to the log file."""
    (stage.directory / "printing.py").write_text(
        "from toolbox import app\nprint('printed at import', flush=True)\n"
    )
    server = stage.serve("printing:app")
    server.output.wait_for_line("printed at import")


def test_capture_output(stage: Stage) -> None:
    (stage.directory / "printing.py").write_text(
        "from toolbox import app\nprint('printed at import', flush=True)\n"
    )
    server = stage.serve(
        "printing:app", capture_output="true", error_logfile="error.log", ready=False
    )
    server.wait_answer("/hello")
    assert "printed at import" in (stage.directory / "error.log").read_text()
