"""Each command on a server that runs: what it says, and what it does."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest
from harness import Stage, Wire, is_alive, wait_until

pytestmark = pytest.mark.ironhorn("has another control interface")


def test_status(stage: Stage, ctl) -> None:
    server = stage.serve(workers=2)
    status = ctl.json("status")
    assert status["ok"] is True
    assert status["pid"] == server.pid
    assert status["app"] == "toolbox:app"
    assert status["directory"] == str(stage.directory)
    assert status["generation"] == 1
    assert status["state"] == "serving"
    assert status["workers"] == {"target": 2, "ready": 2, "booting": 0, "retiring": 0}
    assert status["last_reload"] == {"state": "none"}
    assert len(status["listeners"]) == 1
    assert 0 < status["uptime"] < 60
    text = ctl("status").stdout
    assert f"pid: {server.pid}\n" in text
    assert "workers: target 2, ready 2, booting 0, retiring 0\n" in text
    assert "upgrade" not in text


def test_workers_with_what_they_work_on(stage: Stage, ctl, gate) -> None:
    server = stage.serve(workers=2)
    door = gate("door")
    with server.connect() as wire:
        wire.get("/meet?door")
        door.wait_arrived()
        workers = ctl.json("workers")["workers"]
        assert sorted(worker["pid"] for worker in workers) == server.workers()
        assert [worker["worker"] for worker in workers] == [1, 2]
        assert {worker["generation"] for worker in workers} == {1}
        assert all(worker["memory"] > 1_000_000 and worker["age"] > 0 for worker in workers)
        (busy,) = [worker for worker in workers if worker["request"]]
        assert busy["request"]["method"] == "GET"
        assert busy["request"]["path"] == "/meet?door"
        lines = ctl("workers").stdout.splitlines()
        assert lines[0].split()[:3] == ["worker", "pid", "generation"]
        (line,) = [line for line in lines if "GET /meet" in line]
        assert line.split()[1] == str(busy["pid"])
        assert re.search(r"[\d.]+ MiB", line)
        door.let_pass()
        assert wire.read_response().body == b"passed\n"


def test_requests_with_their_age(stage: Stage, ctl, gate) -> None:
    server = stage.serve(workers=2)
    assert ctl.json("requests") == {"ok": True, "requests": []}
    assert ctl("requests").stdout == "no requests\n"
    door = gate("door")
    started = time.monotonic()
    with server.connect() as wire:
        wire.get("/meet?door")
        door.wait_arrived()
        (request,) = ctl.json("requests")["requests"]
        assert (request["method"], request["path"]) == ("GET", "/meet?door")
        assert request["pid"] in server.workers()
        assert 0 <= request["age"] <= time.monotonic() - started
        (later,) = ctl.json("requests")["requests"]
        assert later["age"] > request["age"]
        _, line = ctl("requests").stdout.splitlines()
        assert re.search(r"GET +/meet\?door +\d+\.\d\ds", line)
        door.let_pass()
        wire.read_response()
    wait_until(lambda: ctl.json("requests")["requests"] == [])


@pytest.mark.parametrize("path", ["/spin", "/meet?door"])
def test_stack_of_a_busy_worker(stage: Stage, ctl, gate, path: str) -> None:
    server = stage.serve(workers=2, timeout=0)
    server.allow_log("quick timeout")
    door = gate("door")
    with server.connect() as wire:
        wire.get(path)
        (request,) = wait_until(lambda: ctl.json("requests")["requests"])
        if path != "/spin":
            door.wait_arrived()
        pid = request["pid"]
        function = path.lstrip("/").split("?")[0].replace("meet", "meeting")
        wait_until(lambda: f"in {function}\n" in ctl("stack", pid).stdout)
        reply = ctl.json("stack", pid)
        assert reply["pid"] == pid
        assert f"in {function}\n" in reply["stack"]
        assert is_alive(pid)
        if path == "/spin":
            ctl("quit")
            server.wait_exit()
        else:
            door.let_pass()
            assert wire.read_response().body == b"passed\n"


def test_stack_of_an_idle_worker_and_of_nobody(stage: Stage, ctl) -> None:
    server = stage.serve()
    assert "__main__.py" in ctl("stack", server.worker()).stdout
    refused = ctl("stack", server.pid, code=1)
    assert refused.stderr == f"ironhorn: no worker has the process id {server.pid}\n"
    assert ctl.json("stack", server.pid, code=1)["ok"] is False


def test_scale(stage: Stage, ctl) -> None:
    server = stage.serve(workers=1)
    assert ctl("scale", 3).stdout == "scaled: workers 3\n"
    server.wait_workers(3)
    wait_until(lambda: ctl.json("status")["workers"]["ready"] == 3)
    assert ctl.json("scale", 1) == {"ok": True, "workers": 1}
    server.wait_workers(1)
    ctl("scale", 0, code=2)
    assert server.get("/hello").status == 200


def test_recycle(stage: Stage, ctl) -> None:
    server = stage.serve(workers=2)
    old, other = server.workers()
    reply = ctl.json("recycle", old)
    assert reply["ok"] is True
    assert reply["pid"] == old
    wait_until(lambda: len(server.workers()) == 2 and old not in server.workers())
    assert other in server.workers()
    assert "recycled" in server.log.wait_for_line(rf"pid={old} exited")
    ctl("recycle", old, code=1)


def test_reopen(stage: Stage, ctl) -> None:
    server = stage.serve(access_logfile="access.log")
    log = stage.directory / "access.log"
    log.rename(stage.directory / "access.log.1")
    assert ctl("reopen").stdout == "log files opened anew\n"
    wait_until(log.exists)
    # A worker is told too, and at once if it is idle.
    wait_until(lambda: server.get("/hello").status == 200 and "/hello" in log.read_text())


def test_stop_serves_what_has_begun(stage: Stage, ctl, gate) -> None:
    server = stage.serve()
    door = gate("door")
    with server.connect() as wire:
        wire.get("/meet?door")
        door.wait_arrived()
        assert ctl("stop").stdout == "stopping\n"
        server.log.wait_for_line("stopping mode=graceful")
        assert ctl.json("reload", code=1)["error"] == "the server is stopping"
        door.let_pass()
        assert wire.read_response().body == b"passed\n"
    assert server.wait_exit() == 0


def test_quit_does_not_wait(stage: Stage, ctl, gate) -> None:
    server = stage.serve()
    server.allow_log("request lost", "quick timeout")
    door = gate("door")
    with server.connect() as wire:
        wire.get("/meet?door")
        door.wait_arrived()
        assert ctl("quit").stdout == "stopping at once\n"
        assert server.wait_exit() == 0


def test_deaths(stage: Stage, ctl) -> None:
    server = stage.serve(workers=2)
    server.allow_log("worker died", "request lost")
    assert ctl("deaths").stdout == "no deaths\n"
    with server.connect() as wire:
        wire.get("/exit")
        wire.wait_closed()
    (death,) = wait_until(lambda: ctl.json("deaths")["deaths"])
    assert death["reason"] == "exit code 7"
    assert death["requests"][0]["path"] == "/exit"
    heading, line, *_ = ctl("deaths").stdout.splitlines()
    assert heading.split()[:2] == ["at", "worker"]
    assert "exit code 7" in line
    assert "GET /exit" in line
    server.wait_ready(3)


def test_several_at_a_time(stage: Stage, ctl) -> None:
    """As many as there are places; what they ask for doesn't wait for each other."""
    server = stage.serve()
    clients = [ctl.begin("--json", "status") for _ in range(12)]
    for client in clients:
        output, errors = client.communicate(timeout=30)
        assert client.returncode == 0, errors
        assert json.loads(output)["pid"] == server.pid


def test_a_master_that_is_stopped(stage: Stage, ctl) -> None:
    server = stage.serve()
    server.send(signal.SIGSTOP)
    try:
        late = ctl("status", "--timeout", "0.2", code=1)
        assert re.search(r"no answer from .*\.ctl within 0\.2 s", late.stderr)
    finally:
        server.send(signal.SIGCONT)
    assert ctl.json("status")["pid"] == server.pid
    with Wire(server.address) as wire:
        assert wire.get("/hello").read_response().status == 200
