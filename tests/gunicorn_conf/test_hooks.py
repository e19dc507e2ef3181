"""Hooks of a gunicorn.conf.py are called as Gunicorn calls them, with what they rely on."""

from __future__ import annotations

import os
import re
import signal

import pytest
from harness import Stage, run_once, wait_until

pytestmark = pytest.mark.ironhorn("calls them anyway")


def test_the_life_of_a_server(site) -> None:
    site.write(
        """
        workers = 2
        def on_starting(server): _note("on_starting", address=server.cfg.bind, server=server.pid)
        def nworkers_changed(server, new, old): _note("nworkers_changed", new=new, old=old)
        def when_ready(server): _note("when_ready", known=len(server.WORKERS))
        def pre_fork(server, worker):
            worker.mine = worker.age
            _note("pre_fork", worker=worker.pid)
        def post_fork(server, worker):
            server.log.info("Worker spawned (pid: %s)", worker.pid)
            _note("post_fork", worker=worker.pid, ppid=worker.ppid, mine=worker.mine)
        def post_worker_init(worker):
            assert callable(worker.wsgi) and worker.wsgi is worker.app.callable
            _note("post_worker_init")
        def worker_exit(server, worker): _note("worker_exit", nr=worker.nr)
        def child_exit(server, worker):
            _note("child_exit", worker=worker.pid, known=worker.pid in server.WORKERS)
        def on_reload(server): _note("on_reload", name=server.proc_name)
        def on_exit(server): _note("on_exit")
        """
    )
    server = site.serve(workers=2)
    first = server.workers()
    assert server.get("/hello").status == 200
    server.log.wait_for_line(r"INFO ironhorn: worker=1 .*Worker spawned \(pid: \d+\)$")
    server.send(signal.SIGTTIN)
    site.wait_noted("post_worker_init", 3)
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    site.wait_noted("child_exit", 3)
    assert server.stop() == 0

    assert site.noted("on_starting")[0]["server"] == server.pid
    changes = [(note["new"], note["old"]) for note in site.noted("nworkers_changed")]
    assert changes[:2] == [(2, None), (3, 2)]
    births = site.noted("post_fork")
    assert {birth["worker"] for birth in births[:2]} == set(first)
    assert all(birth["pid"] == birth["worker"] for birth in births)
    assert {birth["ppid"] for birth in births} == {server.pid}
    assert sorted(birth["mine"] for birth in births) == list(range(1, len(births) + 1))
    assert {fork["worker"] for fork in site.noted("pre_fork")} == {"[booting]"}
    exits = site.noted("child_exit")
    assert {exit["worker"] for exit in exits} == {birth["worker"] for birth in births}
    assert not any(exit["known"] for exit in exits)
    assert site.noted("on_reload")[0]["name"] == "variables:app"
    for hook in ("on_starting", "when_ready", "pre_fork", "child_exit", "on_reload", "on_exit"):
        notes = site.noted(hook)
        assert notes, hook
        assert {(note["pid"], note["app"]) for note in notes} == {(server.pid, False)}, hook
    assert sum(note["nr"] for note in site.noted("worker_exit")) == 1


@pytest.mark.parametrize(
    ("signature", "count"),
    [("worker, req", 2), ("worker, req, environ", 3), ("worker, req, environ, resp", 4)],
)
def test_around_a_request(site, signature: str, count: int) -> None:
    site.write(
        f"""
        def pre_request(worker, req):
            worker.log.debug("%s %s", req.method, req.path)
            _note("pre_request", path=req.path, query=req.query, headers=dict(req.headers),
                  version=req.version, method=req.method, uri=req.uri)
        def post_request({signature}):
            given = ({signature},)
            _note("post_request", count=len(given), path=req.path, nr=worker.nr,
                  status=given[3].status if len(given) > 3 else None,
                  code=given[3].status_code if len(given) > 3 else None,
                  length=dict(given[3].headers).get("Content-Length") if len(given) > 3 else None)
        """
    )
    server = site.serve()
    assert server.get("/hello?a=b", "X-Shop: open").status == 200
    note = site.wait_noted("pre_request")
    assert (note["method"], note["path"], note["query"]) == ("GET", "/hello", "a=b")
    assert (note["uri"], note["version"]) == ("/hello?a=b", [1, 1])
    assert note["headers"]["X-SHOP"] == "open"
    note = site.wait_noted("post_request")
    assert (note["count"], note["path"], note["nr"]) == (count, "/hello", 1)
    if count == 4:
        assert (note["status"], note["code"], note["length"]) == ("200 OK", 200, "6")


def test_before_an_upgrade(site) -> None:
    site.write("def pre_exec(server): _note('pre_exec', log=server.log.name)\n")
    server = site.serve()
    server.allow_log("upgrade failed")
    server.send(signal.SIGUSR2)
    line = server.log.wait_for_line(r"pid=\d+ upgrading")
    assert [note["pid"] for note in site.noted("pre_exec")] == [server.pid]
    server.wait_ready(2)
    os.kill(int(re.search(r"pid=(\d+) upgrading", line)[1]), signal.SIGTERM)
    server.log.wait_for_line("upgrade failed")


def test_a_quick_stop(site) -> None:
    site.write(
        """
        def worker_int(worker): _note("worker_int", worker=worker.pid)
        def worker_exit(server, worker): _note("worker_exit", worker=worker.pid)
        """
    )
    server = site.serve()
    worker = server.worker()
    assert server.stop(signal.SIGINT) == 0
    assert [note["worker"] for note in site.noted("worker_int")] == [worker]
    assert [note["worker"] for note in site.noted("worker_exit")] == [worker]


def test_hooks_of_both(stage: Stage, site) -> None:
    site.write("def post_fork(server, worker): _note('post_fork', of='conf')\n")
    (stage.directory / "hooks.py").write_text(
        "import __config__\ndef post_fork(worker): __config__._note('post_fork', of='hooks')\n"
    )
    site.serve(hooks="hooks.py")
    site.wait_noted("post_fork", 2)
    assert [note["of"] for note in site.noted("post_fork")] == ["hooks", "conf"]


REAL = '''
"""gunicorn configuration"""
import multiprocessing
import os
import prometheus_stand_in as multiprocess

bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:0")
workers = min(int(os.environ.get("GUNICORN_WORKERS", multiprocessing.cpu_count() * 2 + 1)), 2)
worker_class = "sync"
worker_tmp_dir = "/dev/shm"
max_requests = 1200
max_requests_jitter = 50
timeout = 120
keepalive = 5
accesslog = "-"
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s'
loglevel = os.getenv("LOG_LEVEL", "info")
raw_env = ["DJANGO_SETTINGS_MODULE=shop.settings", "PROMETHEUS_MULTIPROC_DIR=/tmp"]

def on_starting(server):
    server.log.info("Starting shop on %s", server.address)

def when_ready(server):
    server.log.info("Server is ready. Spawning workers")
    open(os.path.join(os.environ["TEST_DIR"], "app-initialized"), "w").close()

def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)

def pre_exec(server):
    server.log.info("Forked child, re-executing.")

def worker_int(worker):
    worker.log.info("worker received INT or QUIT signal")
    import threading, traceback
    id2name = {th.ident: th.name for th in threading.enumerate()}
    for threadId, stack in sys._current_frames().items():
        worker.log.debug("# Thread: %s(%d)", id2name.get(threadId, ""), threadId)

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)

def on_exit(server):
    server.log.info("Shutting down shop")
'''


def test_that_of_a_real_site(stage: Stage, site) -> None:
    (stage.directory / "prometheus_stand_in.py").write_text(
        "import os\n"
        "def mark_process_dead(pid):\n"
        "    assert os.environ['PROMETHEUS_MULTIPROC_DIR'] == '/tmp'\n"
        "    with open(os.path.join(os.environ['TEST_DIR'], 'dead'), 'a') as file:\n"
        "        file.write(f'{pid}\\n')\n"
    )
    site.write(REAL)
    server = site.serve(workers=2)
    workers = set(server.workers())
    assert server.get("/variable?DJANGO_SETTINGS_MODULE").body.strip() == b"shop.settings"
    wait_until(lambda: (stage.directory / "app-initialized").exists())
    assert server.stop() == 0
    server.log.wait_for_end()
    for said in (
        r"Starting shop on \[",
        "Server is ready. Spawning workers",
        "Worker spawned",
        "Shutting down shop",
    ):
        assert server.log.matching(rf" INFO ironhorn: .*{said}"), said
    assert not server.log.matching(" WARN | ERROR "), server.log.text()
    dead = {int(line) for line in (stage.directory / "dead").read_text().split()}
    assert dead == workers
    assert len(server.output.matching(r'"GET /variable\?DJANGO_SETTINGS_MODULE HTTP/1.1" 200')) == 1


def test_lines_of_the_app_reach_the_log(stage: Stage, site) -> None:
    """Flask's documentation has apps take the handlers of the logger gunicorn.error."""
    (stage.directory / "flasky.py").write_text(
        "import logging\n"
        "theirs = logging.getLogger('gunicorn.error')\n"
        "logger = logging.getLogger('shop')\n"
        "logger.handlers = theirs.handlers\n"
        "logger.setLevel(theirs.level)\n"
        "logger.info('the shop is open')\n"
        "def app(environ, start_response): pass\n"
    )
    site.write("def post_fork(server, worker): pass\n")
    server = stage.serve("flasky:app")
    server.log.wait_for_line("INFO ironhorn: worker=1 .*the shop is open")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("def post_fork(worker): pass", r"post_fork\(server, worker\)"),
        ("def on_exit(): pass", r"on_exit\(server\)"),
        (
            "def nworkers_changed(server, new): pass",
            r"nworkers_changed\(server, new_value, old_value\)",
        ),
        ("def post_request(worker): pass", r"post_request\(worker, req, environ, resp\)"),
        ("def post_request(w, r, e, s, more): pass", r"post_request\(worker, req, environ, resp\)"),
    ],
)
def test_one_that_cannot_be_called_is_refused(stage: Stage, site, function: str, told: str) -> None:
    site.write(f"{function}\n")
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 2
    assert re.search(rf"gunicorn.conf.py:.*line 1: \w+: it is called as {told}", done.stderr)


def test_one_may_do_without_what_older_ones_were_not_given(stage: Stage, site) -> None:
    site.write(
        """
        def post_request(worker, req): pass
        def pre_request(*anything): pass
        on_exit = print
        """
    )
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", "toolbox:app")
    assert done.returncode == 0, done.stderr


def test_threads_that_the_file_starts_are_named_at_each_reading(site) -> None:
    site.write(
        """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        """
    )
    server = site.serve()
    told = r"WARN .*the configuration has started threads in the master.* threads={}$"
    assert server.log.matching(told.format(1))
    server.send(signal.SIGHUP)
    server.log.wait_for_line(told.format(2))
    server.log.wait_for_line("reloaded")
    assert not server.log.matching("hook=")
