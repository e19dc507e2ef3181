"""The app is imported once, by a process that workers are forked from."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Load, Server, Stage, is_alive, records, run_once, wait_record, wait_until
from harness.process import holds_for, title_of

pytestmark = pytest.mark.ironhorn("imports the app in the master")

EXAMPLE = Path(__file__).parents[2] / "examples" / "preload"


def parent_of(pid: int) -> int:
    return int(re.search(r"^PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def zygote(server: Server) -> int:
    (pid,) = server.zygotes()
    return pid


def test_one_import_a_generation(stage: Stage, shop) -> None:
    """By a process that is neither the master nor a worker; the workers are the master's."""
    server = shop.serve(workers=3)
    assert shop.noted("importers") == [zygote(server)]
    workers = server.workers()
    assert len(workers) == 3
    assert zygote(server) != server.pid
    assert {parent_of(pid) for pid in [*workers, zygote(server)]} == {server.pid}
    assert server.get("/").body == b"v1"
    record = wait_record(server.log, "zygote ready", generation="1")
    assert record["pid"] == str(zygote(server))
    os.kill(workers[0], signal.SIGTERM)
    server.send(signal.SIGTTIN)
    server.wait_ready(5)
    wait_until(lambda: len(server.workers()) == 4)
    assert {parent_of(pid) for pid in server.workers()} == {server.pid}
    assert len(shop.noted("importers")) == 1


def test_a_worker_is_replaced_while_the_directory_is_away(stage: Stage, shop) -> None:
    """Between two releases; the zygote has the code, and needs no name of it."""
    (stage.directory / "r1").mkdir()
    (stage.directory / "shop.py").rename(stage.directory / "r1" / "shop.py")
    server = shop.serve(workers=2, chdir="r1")
    (stage.directory / "r1").rename(stage.directory / "r0")
    before = server.workers()
    server.allow_log("worker died")
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(server.workers()) - {before[0]}) == 2, what="a replacement")
    assert server.get("/").body == b"v1"


def test_functions_for_after_a_fork_have_run(stage: Stage, shop) -> None:
    """In every worker, once; where an app opens its connections and starts its threads."""
    server = shop.serve(workers=3)
    assert sorted(shop.noted("forked")) == server.workers()


def test_what_is_started_after_a_fork_has_signals(stage: Stage, shop) -> None:
    """A thread, and the programs that it starts: none is blocked."""
    shop.deploy(
        "v1",
        "import subprocess, threading\n"
        "def work():\n"
        "    status = open('/proc/thread-self/status').read()\n"
        "    blocked = int(status.split('SigBlk:')[1].split()[0], 16)\n"
        "    program = subprocess.Popen(['sleep', '60'])\n"
        "    program.terminate()\n"
        "    try:\n"
        "        note('started', f'{blocked} {program.wait(10)}')\n"
        "    finally:\n"
        "        program.kill()\n"
        "os.register_at_fork(after_in_child=lambda: threading.Thread(target=work).start())\n",
    )
    shop.serve(workers=2)
    wait_until(lambda: shop.noted("started") == [0, -signal.SIGTERM] * 2, 15)


def test_a_stopped_zygote_does_not_hold_a_stop_up(stage: Stage, shop) -> None:
    server = shop.serve(workers=2, graceful_timeout=60)
    os.kill(zygote(server), signal.SIGSTOP)
    os.kill(server.workers()[0], signal.SIGTERM)
    server.log.wait_for_line("exited", 5)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5


def test_a_stopped_zygote_is_replaced(stage: Stage, shop) -> None:
    server = shop.serve(workers=2)
    server.allow_log("zygote died", "fork failed")
    first = zygote(server)
    os.kill(first, signal.SIGSTOP)
    os.kill(server.workers()[0], signal.SIGTERM)
    wait_until(lambda: server.zygotes() and first not in server.zygotes(), 15)
    server.wait_ready(3)


def test_titles(stage: Stage, shop) -> None:
    server = shop.serve(name="the-shop")
    assert title_of(zygote(server)) == "ironhorn: zygote [the-shop] generation 1"
    wait_until(
        lambda: title_of(server.worker()) == "ironhorn: worker 1 [the-shop] generation 1, ready"
    )


def test_threads_of_the_import_are_named(stage: Stage, shop) -> None:
    """They don't exist in workers, which nobody would notice otherwise."""
    shop.deploy(
        "v1",
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='heart', daemon=True).start()\n"
        "threading.Thread(target=threading.Event().wait, name='lungs', daemon=True).start()\n",
    )
    server = shop.serve(workers=2)
    warned = [
        each for each in records(server.log) if "threads" in each.fields and each.level == "WARN"
    ]
    (record,) = warned
    assert (record["threads"], record["unnamed"]) == ("heart, lungs", "0")
    assert server.get("/").body == b"v1"


def test_a_signal_handler_of_the_import_is_named(stage: Stage, shop) -> None:
    shop.deploy("v1", "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n")
    server = shop.serve(workers=2)
    assert len(server.log.matching("handler for this signal is not used: .*SIGTERM")) == 1
    os.kill(server.workers()[0], signal.SIGTERM)
    server.wait_ready(3)


def test_a_reload_imports_anew(stage: Stage, shop) -> None:
    """In another process; that of the old generation goes with its last worker."""
    server = shop.serve(workers=2)
    first, before = zygote(server), set(server.workers())
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(20)
        shop.deploy("v2")
        server.send(signal.SIGHUP)
        server.log.wait_for_line(r"\breloaded\b", 30)
        wait_until(lambda: not before & set(server.workers()))
        wait_until(lambda: first not in server.zygotes() and len(server.zygotes()) == 1)
        load.wait_more(20)
    load.stop().assert_none_failed()
    assert shop.noted("importers") == [first, zygote(server)]
    assert server.get("/").body == b"v2"


def test_a_reload_of_broken_code(stage: Stage, shop) -> None:
    """It fails once, with one traceback, and the old generation can still replace its workers."""
    server = shop.serve(workers=2)
    server.allow_log("reload failed", "boot failed", "Traceback", "RuntimeError", "raise", "died")
    shop.deploy("v2", "raise RuntimeError('broken on purpose')")
    before = server.workers()
    with Load(server.address, keep_alive=4, one_request=4) as load:
        server.send(signal.SIGHUP)
        record = wait_record(server.log, "reload failed", 20)
        assert "could not be preloaded: boot failure" in record["reason"]
        assert server.workers() == before
        assert len(server.log.matching("^RuntimeError: broken on purpose")) == 1
        load.wait_more(20)
    load.stop().assert_none_failed()
    os.kill(before[0], signal.SIGTERM)
    server.wait_ready(3)
    assert server.get("/").body == b"v1"
    shop.deploy("v3")
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b", 30)
    wait_until(lambda: server.get("/").body == b"v3")


def test_a_killed_worker_comes_back_though_the_code_is_broken(stage: Stage, shop) -> None:
    """What was imported once is not imported again."""
    server = shop.serve(workers=2)
    server.allow_log("worker died")
    shop.deploy("v2", "raise RuntimeError('broken on purpose')")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_ready(3)
    assert len(server.wait_workers(2)) == 2
    assert server.get("/").body == b"v1"
    assert len(shop.noted("importers")) == 1


def test_a_killed_zygote(stage: Stage, shop) -> None:
    """Nobody notices; a new one comes, which imports what is on the disk."""
    server = shop.serve(workers=2)
    server.allow_log("zygote died")
    first, workers = zygote(server), server.workers()
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(20)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server.zygotes() and first not in server.zygotes(), 20)
        load.wait_more(20)
        server.log.wait_for_line("zygote ready", 20, count=2)
        assert server.workers() == workers
        os.kill(workers[0], signal.SIGTERM)
        server.wait_ready(3)
    load.stop().assert_none_failed()
    assert server.get("/").body == b"v1"


def test_a_killed_zygote_whose_code_is_broken(stage: Stage, shop) -> None:
    """It is tried again and again, more and more rarely, and heals when the code is mended."""
    server = shop.serve(workers=2)
    server.allow_log("zygote died", "boot failed", "Traceback", "RuntimeError", "raise", "delayed")
    workers = server.workers()
    shop.deploy("v2", "raise RuntimeError('broken on purpose')")
    os.kill(zygote(server), signal.SIGKILL)
    server.log.wait_for_line("boot failed", 20)
    holds_for(lambda: server.get("/").body == b"v1", 1.0)
    assert server.workers() == workers
    shop.deploy("v3")
    server.log.wait_for_line("zygote ready", 45, count=2)


def test_code_that_is_broken_at_start(stage: Stage, shop) -> None:
    """One traceback, exit code 3, at once."""
    shop.deploy("v1", "raise RuntimeError('broken on purpose')")
    done = run_once(stage, "--preload", "--workers=3", "--bind=127.0.0.1:0", "shop:app")
    assert done.returncode == 3
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert done.stderr.count("RuntimeError: broken on purpose") >= 1
    assert len(shop.noted("importers")) == 1


def test_an_app_that_is_not_there(stage: Stage) -> None:
    done = run_once(stage, "--preload", "--workers=3", "--bind=127.0.0.1:0", "nowhere:app")
    assert done.returncode == 4
    assert done.stderr.count("cannot find the module nowhere") == 1


def test_an_import_that_hangs(stage: Stage, shop) -> None:
    stage.gate("import")
    shop.deploy("v1", "from meeting import meet\nmeet('import')")
    server = shop.serve(ready=False, boot_timeout=1)
    server.allow_log("zygote died", "start failed")
    server.expected_exit = 3
    assert server.wait_exit() == 3
    record = wait_record(server.log, "zygote died", reason="boot timeout")
    assert "meet" in record.block


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_leaves_nobody(stage: Stage, shop, signum: signal.Signals) -> None:
    server = shop.serve(workers=2)
    everybody = [*server.workers(), *server.zygotes()]
    assert server.stop(signum) == 0
    assert not any(map(is_alive, everybody))
    assert not server.log.matching("died")


def test_a_stop_during_the_import(stage: Stage, shop) -> None:
    gate = stage.gate("import")
    shop.deploy("v1", "from meeting import meet\nmeet('import')")
    server = shop.serve(ready=False)
    gate.wait_arrived()
    assert server.stop() == 0


def test_nobody_outlives_the_master(stage: Stage, shop) -> None:
    server = shop.serve(workers=2)
    server.expected_exit = -signal.SIGKILL
    everybody = [*server.workers(), *server.zygotes()]
    assert len(everybody) == 3
    server.send(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, everybody)), 2.0, "no process is left")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_no_business_of_the_zygotes(stage: Stage, shop, signum: signal.Signals) -> None:
    """Such as those that a terminal sends to every process in it."""
    server = shop.serve()
    pid = zygote(server)
    os.kill(pid, signum)
    os.kill(server.worker(), signal.SIGTERM)
    server.wait_ready(2)
    assert server.zygotes() == [pid]


def test_a_program_that_the_import_starts_has_signals(stage: Stage, shop) -> None:
    """What the zygote doesn't heed isn't ignored by those whom it starts."""
    shop.deploy(
        "v1",
        "import subprocess, sys\n"
        "code = 'import signal; print(*(signal.getsignal(n) == signal.SIG_DFL for n in '\\\n"
        "    '(signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)), signal.pthread_sigmask(0, []))'\n"
        "note('program', subprocess.check_output([sys.executable, '-c', code], text=True))\n",
    )
    shop.serve()
    assert (stage.directory / "program").read_text().strip() == "True True True set()"


def test_recycling(stage: Stage, shop) -> None:
    """A fork of what was imported: a worker is there at once, even if the code is broken."""
    server = shop.serve(workers=2, max_requests=50)
    shop.deploy("v2", "raise RuntimeError('broken on purpose')")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        server.log.wait_for_line("exited .*max_requests", 30, count=3)
    load.stop().assert_none_failed()
    assert len(shop.noted("importers")) == 1


def test_a_stuck_request(stage: Stage) -> None:
    """The stacks are the worker's own, also of the second and third that is forked."""
    server = stage.serve("stuck:app", preload=True, timeout=1, graceful_timeout=1)
    server.allow_log("request timeout", "worker died", "graceful timeout")
    for count in (1, 2, 3):
        mark = server.log.mark()
        with server.connect() as wire:
            assert wire.get("/hold").read_response().status == 504
        wait_record(server.log, "request timeout", since=mark, shows=r"line \d+ in hold\b")
        server.wait_ready(count + 1)


def test_a_crash(stage: Stage) -> None:
    server = stage.serve("stuck:app", preload=True)
    server.allow_log("worker died", "Fatal Python error")
    with server.connect() as wire:
        wire.get("/segfault").wait_closed()
    wait_record(server.log, "worker died", signal="SIGSEGV", shows=r"line \d+ in segfault\b")
    server.wait_ready(2)


def test_what_an_app_forks_is_no_worker(stage: Stage, shop) -> None:
    """Its own fork functions tell the two apart."""
    (stage.directory / "forking.py").write_text(
        "import os, signal\n"
        "def app(environ, start_response):\n"
        "    ready, child_ready = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.write(child_ready, b'.')\n"
        "        signal.pause()\n"
        "    os.read(ready, 1)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    start_response('200 OK', [])\n"
        "    return [signal.Signals(os.WTERMSIG(status)).name.encode()]\n"
    )
    server = stage.serve("forking:app", preload=True, workers=2)
    before = server.workers()
    for _ in range(3):
        assert server.get("/").body == b"SIGTERM"
    assert server.workers() == before


def test_memory(stage: Stage) -> None:
    """What the import has filled is there once, whatever the number of workers."""
    script = [sys.executable, str(EXAMPLE / "memory"), "--workers", "4"]
    done = subprocess.run(
        script, capture_output=True, text=True, timeout=120, env=stage.environment(), check=True
    )
    with_, without = (
        int(re.search(rf"^{kind} +.* (\d+) MB in all$", done.stdout, re.M)[1])
        for kind in ("with", "without")
    )
    # About 60 MB a worker, shared by four and the zygote.
    assert without - with_ > 2 * 60, done.stdout
