"""As process 1 of a container; and what ps(1) shows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from harness import Server, Stage, is_alive, wait_until
from harness.masters import title
from harness.process import children_of, descendants, state_of

pytestmark = pytest.mark.ironhorn("another title")

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.fixture
def container(stage: Stage) -> Server:
    """A server that is process 1 of its own world. What was started is unshare(1), its parent."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1) here")
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the kernel grants no process namespace here")
    (stage.directory / "orphaning.py").write_text(
        "import os\n"
        "from meeting import meet\n"
        "from toolbox import app as toolbox\n\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/orphan' and os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            meet('orphan')\n"
        "        os._exit(0)\n"
        "    return toolbox(environ | {'PATH_INFO': '/hello'}, start_response)\n"
    )
    return stage.serve("orphaning:app", command=[*UNSHARE, *stage.flavour.command])


def first(server: Server) -> int:
    (pid,) = children_of(server.pid)
    return pid


def test_orphans_are_reaped(stage: Stage, container: Server) -> None:
    gate = stage.gate("orphan")
    master = first(container)
    (worker,) = children_of(master)
    assert container.get("/orphan").status == 200
    gate.wait_arrived()
    (orphan,) = wait_until(
        lambda: [pid for pid in children_of(master) if pid != worker], what="an orphan"
    )
    gate.let_pass()
    wait_until(lambda: state_of(orphan) == "", what="no zombie")
    assert container.get("/hello").status == 200
    assert is_alive(worker)
    stop(container)


def stop(server: Server, signum: signal.Signals = signal.SIGTERM) -> None:
    """Signals process 1; unshare(1) ends with its exit code."""
    os.kill(first(server), signum)
    assert server.wait_exit() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_stops(container: Server, signum: signal.Signals) -> None:
    """The kernel discards signals to process 1 that have no handler (pid_namespaces(7))."""
    stop(container, signum)


def test_a_worker_that_dies_is_replaced(container: Server) -> None:
    master = first(container)
    (before,) = children_of(master)
    container.allow_log("worker died")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: children_of(master) not in ([], [before]), what="another worker")
    container.wait_ready(2)
    assert container.get("/hello").status == 200
    stop(container)


def test_titles(stage: Stage) -> None:
    """The state of the server, for who looks with ps(1) or top(1)."""
    gate = stage.gate("boot")
    server = stage.serve("slow_boot:app", name="shop", workers=2, ready=False)
    gate.wait_arrived(2)
    for worker in server.workers():
        assert title(worker).startswith("ironhorn: worker ")
        assert title(worker).endswith(" [shop] generation 1, booting")
    gate.let_pass(2)
    server.wait_ready(2)
    wait_until(lambda: title(server.pid) == "ironhorn: master [shop] 2 workers, generation 1")
    for worker in server.workers():
        wait_until(lambda worker=worker: title(worker).endswith("generation 1, ready"))
    with server.connect(receive_buffer=4096) as wire:
        wire.get("/big?20000000")
        wire.read_exactly(1)
        server.send(signal.SIGTERM)
        wait_until(
            lambda: [pid for pid in descendants(server.pid) if title(pid).endswith(", draining")],
            what="a worker that drains",
        )
        wait_until(lambda: title(server.pid) == "ironhorn: master [shop] stopping")
