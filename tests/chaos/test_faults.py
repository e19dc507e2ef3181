"""Faults from outside: no panic, no worker lost, no accepted request lost where nothing of it was
lost.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys

import pytest
from harness import Load, Stage, request, wait_until
from harness.process import state_of

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]

SEEDS = [int(seed) for seed in os.environ.get("IRONHORN_CHAOS_SEED", "1,2,3").split(",")]
CALM = [signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGCHLD]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_of_signals(stage: Stage, seed: int) -> None:
    """Reloads, more and fewer workers, reopened logs, to the master and to workers, in any order: 0
    failed.
    """
    chance = random.Random(seed)
    server = stage.serve(workers=2)
    with Load(server.address, keep_alive=6, one_request=6) as load:
        for _ in range(40):
            load.wait_more(10)
            target = chance.choice([server.pid, *server.workers()])
            signum = chance.choice(CALM)
            if target != server.pid and signum in (signal.SIGTTIN, signal.SIGTTOU):
                continue
            if signum is signal.SIGTTIN and len(server.workers()) > 6:
                signum = signal.SIGTTOU
            try:
                os.kill(target, signum)
            except ProcessLookupError:
                continue
        load.wait_more(100)
    load.stop().assert_none_failed()
    server.assert_running()


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_killed_at_random(stage: Stage, seed: int) -> None:
    """The server always comes back to strength, and nobody but the killed workers' own clients
    notices.
    """
    chance = random.Random(seed)
    server = stage.serve(workers=3)
    server.allow_log("worker died", "respawn delayed")
    with Load(server.address, keep_alive=0, one_request=6) as load:
        for _ in range(6):
            load.wait_more(20)
            wait_until(lambda: len(server.workers()) == 3, 35)
            os.kill(chance.choice(server.workers()), signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 3, 35)
        load.wait_more(50)
    report = load.stop()
    assert len(report.failures) <= 6 * 6
    assert all(sample.status == 200 for sample in report.samples)


def test_a_stopped_worker(stage: Stage) -> None:
    """SIGSTOP and SIGCONT: what it held is answered when it goes on."""
    server = stage.serve()
    pid = server.worker()
    with server.connect() as wire:
        wire.get("/hello").read_response()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) == "T")
        wire.get("/hello")
        assert wire.is_silent_for(0.3)
        os.kill(pid, signal.SIGCONT)
        assert wire.read_response().body == b"hello\n"
    assert server.workers() == [pid]


def test_other_workers_take_over_from_a_stopped_one(stage: Stage) -> None:
    server = stage.serve(workers=2)
    stopped = server.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: state_of(stopped) == "T")
    for _ in range(30):
        assert server.get("/hello", deadline=3).status == 200
    os.kill(stopped, signal.SIGCONT)


def test_no_file_descriptors_left(stage: Stage) -> None:
    """EMFILE in accept: no busy loop, no lost connection; when clients leave, the waiting ones are
    served.
    """
    server = stage.serve(limits={resource.RLIMIT_NOFILE: 64}, keepalive=30, header_timeout=30)
    server.allow_log("accept", "open files", "descriptors")
    resource.prlimit(server.worker(), resource.RLIMIT_NOFILE, (64, 64))
    crowd = [server.connect() for _ in range(150)]
    for wire in crowd[:20]:
        wire.get("/hello")
        assert wire.read_response().status == 200
    for wire in crowd[:140]:
        wire.close()
    for wire in crowd[140:]:
        with wire:
            assert wire.get("/hello").read_response(deadline=15).status == 200
    assert server.get("/hello").status == 200


def test_no_room_for_a_big_body(stage: Stage) -> None:
    """The temporary file cannot grow (RLIMIT_FSIZE, as a full disk): that request gets an error,
    the next is served.
    """
    server = stage.serve()
    server.allow_log("ERROR", "body", "space", "File too large")
    resource.prlimit(server.worker(), resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with server.connect() as wire:
        wire.send(request("POST", "/digest", f"Content-Length: {32 << 20}"))
        wire.send_what_fits(b"x" * (32 << 20))
        assert wire.read_response(deadline=15).status in (500, 503, 507)
    with server.connect() as wire:
        assert wire.send(request("POST", "/echo", body=b"small")).read_response().body == b"small"


def test_a_full_disk_for_the_access_log(stage: Stage) -> None:
    """Requests go on; the log says once that lines are lost, not once a request."""
    if not os.path.exists("/dev/full"):
        pytest.fail("no /dev/full on this system")
    server = stage.serve(access_logfile="/dev/full")
    server.allow_log("access log")
    for _ in range(20):
        assert server.get("/hello").status == 200
    assert len(server.log.matching("access log")) <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_megabyte_of_garbage(stage: Stage, seed: int) -> None:
    """On many connections, some cut by reset: no panic, no error in the log, the same workers."""
    chance = random.Random(seed)
    server = stage.serve(workers=2, header_timeout=2)
    before = server.workers()
    for number in range(128):
        with server.connect() as wire:
            data = garbage(chance, 8192)
            wire.send_what_fits(data)
            if number % 3 == 0:
                wire.reset()
    assert server.get("/hello").status == 200
    assert server.workers() == before


def garbage(chance: random.Random, size: int) -> bytes:
    """Random bytes, random text, and requests with random damage."""
    kind = chance.randrange(3)
    if kind == 0:
        return chance.randbytes(size)
    if kind == 1:
        return bytes(
            chance.choices(b"GET / HTTP/1.\r\n\t :,;%\x00\xff0123456789abcdefHost", k=size)
        )
    data = (
        bytearray(
            request("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"
        )
        * 20
    )
    for _ in range(chance.randrange(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def test_an_app_that_runs_a_program(stage: Stage) -> None:
    """A child of the app is not a worker, and is not reaped under the app's feet."""
    (stage.directory / "forking.py").write_text(
        "import subprocess, sys\n"
        "def app(environ, start_response):\n"
        "    done = subprocess.run([sys.executable, '-c', 'exit(5)'])\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d' % done.returncode]\n"
    )
    server = stage.serve("forking:app")
    for _ in range(5):
        assert server.get("/").body == b"5"


@pytest.mark.parametrize("signum", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_an_app_that_forks(stage: Stage, signum: str) -> None:
    """A signal for a child of the app is the child's: it ends, and the worker does not notice."""
    (stage.directory / "forking.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def app(environ, start_response):\n"
        "    ready, child_ready = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.write(child_ready, b'.')\n"
        "        while True:\n"
        "            signal.pause()\n"
        "    os.read(ready, 1)\n"
        f"    os.kill(child, signal.{signum})\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    start_response('200 OK', [])\n"
        "    return [signal.Signals(os.WTERMSIG(status)).name.encode()]\n"
    )
    server = stage.serve("forking:app")
    server.allow_log("the app's handler for this signal is not used")
    before = server.workers()
    assert server.get("/").body == signum.encode()
    assert server.get("/").body == signum.encode()
    assert server.workers() == before
    assert not server.log.matching("draining")


def test_an_app_whose_child_lives_on(stage: Stage) -> None:
    """It has the connection as well; the client needn't wait for its end."""
    (stage.directory / "leaving.py").write_text(
        "import os, signal\n"
        "def app(environ, start_response):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        while True:\n"
        "            signal.pause()\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d' % child]\n"
    )
    server = stage.serve("leaving:app")
    with server.connect() as wire:
        child = int(wire.get("/", "Connection: close").read_response().body)
        try:
            wire.wait_closed()
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "end",
    [
        "start_response('200 OK', []); return []",
        "raise SystemExit(3)",
        "raise ValueError('child')",
    ],
)
def test_an_app_whose_child_comes_back(stage: Stage, end: str) -> None:
    """The answer is the worker's to send, once, and the child's end is its own."""
    (stage.directory / "returning.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        f"        {end}\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'%d' % os.waitstatus_to_exitcode(status)]\n"
    )
    server = stage.serve("returning:app")
    server.allow_log(
        "process forked by the app failed", "Traceback", "ValueError", "Assertion", "^ "
    )
    before = server.workers()
    with server.connect() as wire:
        for _ in range(3):
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().body in {b"0", b"1", b"3"}
    assert server.workers() == before


def test_the_request_of_a_worker_that_dies_is_named(stage: Stage) -> None:
    (stage.directory / "dying.py").write_text(
        "import os\ndef app(environ, start_response):\n    os._exit(9)\n"
    )
    server = stage.serve("dying:app", access_logfile="-", access_logformat="%(s)s %(r)s")
    server.allow_log("worker died")
    with server.connect() as wire:
        wire.send(b"GET /last?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_to_end() == b""
    server.log.wait_for_line(r'request lost (thread=8 )?request="GET /last\?x=1" age=\d+\.\d+s$')
    server.output.wait_for_line(r"^0 GET /last\?x=1$")


def test_an_app_with_threads_of_its_own(stage: Stage) -> None:
    """They run while the worker is idle: the GIL is free in the poll."""
    (stage.directory / "threaded.py").write_text(
        "import threading\n"
        "from meeting import note\n"
        "from toolbox import app\n"
        "def tick(ticks=5):\n"
        "    note('ticks', 'tick')\n"
        "    if ticks > 1:\n"
        "        threading.Timer(0.05, tick, (ticks - 1,)).start()\n"
        "tick()\n"
    )
    server = stage.serve("threaded:app")
    ticks = stage.directory / "ticks"
    wait_until(lambda: len(ticks.read_text().splitlines()) == 5)
    assert server.get("/hello").status == 200


DEAF = """
import os, sys
reading, writing = os.pipe()
os.dup2(writing, 2)
os.close(reading)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_log_that_nobody_reads(stage: Stage) -> None:
    """Whoever read the pipe on stderr is dead: no reason for master or worker to die too."""
    command = [sys.executable, "-c", DEAF, *stage.flavour.command]
    server = stage.serve(command=command, workers=2, ready=False)
    server.wait_answer("/errors")
    server.send(signal.SIGTTIN)
    server.wait_workers(3)
    old = set(server.workers())
    server.send(signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()))
    assert server.get("/hello").status == 200
