"""Which hook is called when, in which process, and with what."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Stage

pytestmark = pytest.mark.ironhorn("Gunicorn has others")

IN_MASTER = {
    "on_starting",
    "pre_fork",
    "when_ready",
    "on_reload",
    "reload_failed",
    "worker_timeout",
    "child_exit",
    "on_exit",
}


def test_the_life_of_a_server(stage: Stage, hooks, every: str) -> None:
    server = stage.serve(hooks=hooks.write(every))
    first = server.worker()
    hooks.wait_noted("when_ready")
    assert server.get("/hello?x").status == 200
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    hooks.wait_noted("child_exit")
    second = server.worker()
    assert server.stop() == 0
    assert [note["hook"] for note in hooks.noted()] == [
        "on_starting",
        "pre_fork",
        "post_fork",
        "post_worker_init",
        "worker_ready",
        "when_ready",
        "pre_request",
        "post_request",
        "on_reload",
        "pre_fork",
        "post_fork",
        "post_worker_init",
        "worker_ready",
        "worker_exit",
        "child_exit",
        "worker_exit",
        "child_exit",
        "on_exit",
    ]
    for note in hooks.noted():
        if note["hook"] in IN_MASTER:
            assert (note["pid"], note["app"]) == (server.pid, False), note
        else:
            assert note["pid"] in (first, second), note
            assert note["ppid"] == server.pid
            assert note["app"] == (note["hook"] != "post_fork"), note
    forks = hooks.noted("pre_fork")
    assert [(fork["worker"], fork["age"]) for fork in forks] == [(None, 1), (None, 2)]
    births = hooks.noted("post_fork")
    assert [(birth["worker"], birth["age"]) for birth in births] == [(first, 1), (second, 2)]
    exits = hooks.noted("child_exit")
    assert [(exit["worker"], exit["reason"]) for exit in exits] == [
        (first, "asked"),
        (second, "asked"),
    ]


def test_with_preload(stage: Stage, hooks, every: str) -> None:
    server = stage.serve(hooks=hooks.write(every), preload=True, workers=2)
    hooks.wait_noted("worker_ready", 2)
    workers = set(server.workers())
    births = hooks.noted("post_fork")
    assert len(births) == 2
    for note in births:
        assert note["pid"] in workers
        assert (note["ppid"], note["app"]) == (server.pid, True)
    assert {note["age"] for note in births} == {1, 2}
    for note in hooks.noted("pre_fork"):
        assert (note["pid"], note["app"]) == (server.pid, False)
    order = [note["hook"] for note in hooks.noted() if note["pid"] == births[0]["pid"]]
    assert order == ["post_fork", "post_worker_init", "worker_ready"]


def test_a_worker_that_is_killed(stage: Stage, hooks, every: str) -> None:
    server = stage.serve(hooks=hooks.write(every))
    server.allow_log("worker died", "SIGKILL")
    victim = server.worker()
    os.kill(victim, signal.SIGKILL)
    note = hooks.wait_noted("child_exit")
    assert (note["worker"], note["reason"]) == (victim, "signal SIGKILL")
    assert hooks.noted("worker_exit") == []
    hooks.wait_noted("post_fork", 2)


def test_a_request_that_is_over_its_time(stage: Stage, hooks, every: str, gate) -> None:
    gate("never")
    server = stage.serve(hooks=hooks.write(every), timeout=1, graceful_timeout=1)
    server.allow_log("timeout", "worker died", "Traceback", "Thread")
    with server.connect() as wire:
        wire.get("/meet?never")
        note = hooks.wait_noted("worker_timeout")
        assert (note["method"], note["path"]) == ("GET", "/meet?never")
        hooks.wait_noted("child_exit")


def test_a_reload_that_fails(stage: Stage, hooks, every: str) -> None:
    server = stage.serve(hooks=hooks.write(every), config="app: toolbox:app\n")
    server.allow_log("reload failed")
    worker = server.worker()
    (stage.directory / "ironhorn.yaml").write_text("workers: many\n")
    server.send(signal.SIGHUP)
    assert "workers" in hooks.wait_noted("reload_failed")["reason"]
    assert server.worker() == worker


def test_a_reload_that_winch_ends(stage: Stage, hooks, every: str, gate) -> None:
    boot = gate("boot")
    server = stage.serve("slow_boot:app", hooks=hooks.write(every), ready=False)
    boot.wait_arrived()
    boot.let_pass()
    server.wait_ready()
    server.send(signal.SIGHUP)
    boot.wait_arrived()
    server.send(signal.SIGWINCH)
    reason = hooks.wait_noted("reload_failed")["reason"]
    assert reason == "the workers were told to leave"
    server.log.wait_for_line(f"WARN .*reload ended .*{reason}")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/hello", "200 OK"), ("/fail", "500 Internal Server Error")],
)
def test_around_a_request(stage: Stage, hooks, every: str, path: str, status: str) -> None:
    server = stage.serve(hooks=hooks.write(every))
    server.allow_log("app failed", "Traceback")
    server.get(path)
    note = hooks.wait_noted("post_request")
    assert (note["path"], note["status"]) == (path, status)
    assert 0 < note["seconds"] < 60
    assert [note["hook"] for note in hooks.noted("pre_request", "post_request")] == [
        "pre_request",
        "post_request",
    ]


def test_post_request_comes_after_close(stage: Stage, hooks) -> None:
    (stage.directory / "closing.py").write_text(
        "from hooks_notes import note\n"
        "class Body:\n"
        "    def __iter__(self): yield b'x'\n"
        "    def close(self): note('close')\n"
        "def app(environ, start_response):\n"
        "    start_response('299 Odd', [('X-A', 'b')])\n"
        "    return Body()\n"
    )
    hooks.write("", "hooks_notes.py")
    hooks.write(
        """
        def post_request(worker, environ, status, seconds): note("post_request", status=status)
        """
    )
    server = stage.serve("closing:app", hooks="hooks.py")
    assert server.get("/").status == 299
    hooks.wait_noted("post_request")
    assert [note["hook"] for note in hooks.noted()] == ["close", "post_request"]
    assert hooks.noted("post_request")[0]["status"] == "299 Odd"
