"""What hooks may do, what becomes of those that fail, and that a reload reads them again."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Stage, run_once

pytestmark = pytest.mark.ironhorn("Gunicorn has others")


@pytest.mark.parametrize("raised", ["ValueError('on purpose')", "SystemExit(7)"])
def test_exceptions_are_logged_and_harmless(stage: Stage, hooks, raised: str) -> None:
    harmless = {
        "pre_fork": "master, worker",
        "when_ready": "master",
        "on_reload": "master",
        "child_exit": "master, worker, reason",
        "on_exit": "master",
        "worker_ready": "worker",
        "pre_request": "worker, environ",
        "post_request": "worker, environ, status, seconds",
        "worker_exit": "worker",
    }
    hooks.write("".join(f"def {name}({args}): raise {raised}\n" for name, args in harmless.items()))
    server = stage.serve(hooks="hooks.py")
    server.allow_log("hook failed", "Traceback")
    assert server.get("/hello").status == 200
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("exited")
    assert server.get("/hello").status == 200
    assert server.stop() == 0
    server.log.wait_for_end()
    for name in harmless:
        assert server.log.matching(f"ERROR .*hook failed hook={name} of=hooks.py"), name


def test_on_starting_stops_the_start(stage: Stage, hooks) -> None:
    hooks.write("def on_starting(master): raise ValueError('not today')\n")
    done = run_once(stage, "--hooks=hooks.py", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 1
    assert "the hook on_starting of hooks.py failed: ValueError: not today" in done.stderr
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("hook", ["post_fork", "post_worker_init"])
def test_a_worker_whose_hook_fails_cannot_boot(stage: Stage, hooks, hook: str) -> None:
    hooks.write(f"def {hook}(worker): raise ValueError('not today')\n")
    done = run_once(stage, "--hooks=hooks.py", "--bind=127.0.0.1:0", "-w2", "toolbox:app")
    assert done.returncode == 3
    assert f"the hook {hook} of hooks.py failed: ValueError: not today" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_a_reload_reads_them_again(stage: Stage, hooks) -> None:
    (stage.directory / "beside.py").write_text("VERSION = 1\n")
    text = """
    import beside
    def post_fork(worker): note("post_fork", version={}, beside=beside.VERSION)
    def child_exit(master, worker, reason): note("child_exit", version={})
    """
    hooks.write(text.format(1, 1))
    server = stage.serve(hooks="hooks.py")
    hooks.wait_noted("post_fork")
    hooks.write(text.format(2, 2))
    (stage.directory / "beside.py").write_text("VERSION = 2\n")
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    hooks.wait_noted("child_exit")
    assert server.stop() == 0
    versions = [(note["version"], note["beside"]) for note in hooks.noted("post_fork")]
    assert versions == [(1, 1), (2, 2)]
    # Each worker has the hooks of its generation, at its end too.
    assert [note["version"] for note in hooks.noted("child_exit")] == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def post_fork(:\n", "SyntaxError"),
        ("raise ValueError('broken on purpose')\n", "ValueError: broken on purpose"),
        ("def post_fork(server, worker): pass\n", r"it is called as post_fork\(worker\)"),
    ],
)
def test_broken_ones_change_nothing(stage: Stage, hooks, every: str, text: str, said: str) -> None:
    server = stage.serve(hooks=hooks.write(every))
    server.allow_log("reload failed", "hooks not loaded", "Traceback")
    worker = server.worker()
    hooks.write(text)
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reload failed")
    assert server.log.matching(said)
    assert server.worker() == worker
    hooks.wait_noted("reload_failed")
    assert server.get("/hello").status == 200
    # The old ones are still those that are called.
    os.kill(worker, signal.SIGKILL)
    server.allow_log("worker died", "SIGKILL")
    hooks.wait_noted("child_exit")


@pytest.mark.parametrize("named", ["hooks.py", "hooks", "toolbox"])
def test_the_app_must_not_be_imported(stage: Stage, hooks, named: str) -> None:
    hooks.write("import toolbox\n")
    done = run_once(stage, f"--hooks={named}", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 2
    assert "master must stay free of the app" in done.stderr


def test_nor_be_the_file_of_hooks(stage: Stage) -> None:
    (stage.directory / "whole.py").write_text("def app(environ, start_response): pass\n")
    done = run_once(stage, "--hooks=whole.py", "--bind=127.0.0.1:0", "whole:app")
    assert done.returncode == 2
    assert "it is the app's own module" in done.stderr


def test_an_app_that_is_imported_later_is_forgotten(stage: Stage, hooks) -> None:
    app = stage.directory / "shop.py"
    text = (
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"
    )
    app.write_text(text % "old")
    hooks.write("def when_ready(master): import shop\n")
    server = stage.serve("shop:app", hooks="hooks.py")
    server.allow_log("has imported the app")
    server.log.wait_for_line("the hook has imported the app into the master")
    app.write_text(text % "new")
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("exited")
    assert server.get("/").body == b"new"


def test_a_slow_one_is_named(stage: Stage, hooks) -> None:
    hooks.write("import threading\ndef when_ready(master): threading.Event().wait(1.05)\n")
    server = stage.serve(hooks="hooks.py")
    server.log.wait_for_line(r"WARN .*slow hook.* hook=when_ready of=hooks.py took=1\.\d+?s")


def test_what_is_printed_is_printed_once(stage: Stage, hooks) -> None:
    hooks.write("print('loaded')\ndef pre_fork(master, worker): print('fork', worker.nr)\n")
    server = stage.serve(hooks="hooks.py", workers=3)
    assert server.stop() == 0
    server.output.wait_for_end()
    assert sorted(server.output.lines()) == ["fork 1", "fork 2", "fork 3", "loaded"]


def test_the_log(stage: Stage, hooks) -> None:
    hooks.write(
        """
        def when_ready(master): master.log.warning("ready: %s\\nforged", "yes")
        def post_fork(worker):
            try: 1 / 0
            except ZeroDivisionError: worker.log.exception("caught")
        """
    )
    server = stage.serve(hooks="hooks.py")
    server.allow_log("caught", "Traceback")
    server.log.wait_for_line(r" WARN ironhorn: ready: yes forged$")
    server.log.wait_for_line(r" ERROR ironhorn: worker=1 generation=1 pid=\d+ caught$")
    server.log.wait_for_line("ZeroDivisionError: division by zero")


def test_the_environment_is_the_workers(stage: Stage, hooks) -> None:
    hooks.write(
        """
        def on_starting(master): note("on_starting", value=os.environ.get("SHOP"))
        def post_fork(worker): note("post_fork", value=os.environ.get("SHOP"))
        """
    )
    stage.serve(hooks="hooks.py", config="env: {SHOP: open}\n")
    assert hooks.wait_noted("on_starting")["value"] == "open"
    assert hooks.wait_noted("post_fork")["value"] == "open"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("post_fork = 3\n", "post_fork: found 3, expected a function"),
        ("def post_fork(server, worker): pass\n", "it is called as post_fork(worker)"),
    ],
)
def test_what_cannot_be_called_is_refused(stage: Stage, hooks, text: str, said: str) -> None:
    hooks.write(text)
    done = run_once(stage, "--hooks=hooks.py", "--bind=127.0.0.1:0", "toolbox:app")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("named", ["nowhere.py", "nowhere", "no.where"])
def test_what_is_not_there_is_refused(stage: Stage, named: str) -> None:
    done = run_once(stage, f"--hooks={named}", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 2
    assert named.partition(".")[0] in done.stderr


def test_a_misspelt_one_is_told(stage: Stage, hooks) -> None:
    hooks.write("def post_frok(worker): pass\ndef report(worker): pass\n")
    server = stage.serve(hooks="hooks.py")
    assert len(server.log.matching("post_frok is no hook; did you mean post_fork")) == 1
    assert not server.log.matching("report")


def test_check_config_looks_at_them(stage: Stage, hooks) -> None:
    hooks.write("import toolbox\n")
    done = run_once(
        stage, "--check-config", "--hooks=hooks.py", "--bind=127.0.0.1:0", "toolbox:app"
    )
    assert done.returncode == 2
    assert "master must stay free of the app" in done.stderr
