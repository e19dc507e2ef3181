"""Faults in any order on a server under load. IRONHORN_CHAOS_SEED=1234 replays a seed.

Every client knows which worker it talks to: whatever fails on a connection that was not a killed
worker's is a request lost.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from harness import BadResponse, Stage, Wire, request, wait_until
from harness.measure import living
from soak.clients import Client, Killed

pytestmark = [pytest.mark.chaos, pytest.mark.ironhorn("no such promise")]

SEEDS = [int(seed) for seed in os.environ.get("IRONHORN_CHAOS_SEED", "1,2,3").split(",")]
WORKERS = 3
SECONDS = 8.0


class Chaos:
    """A server, its clients, and one method a fault."""

    def __init__(self, stage: Stage, seed: int, preload: bool = False) -> None:
        self.chance = random.Random(seed)
        self.stage = stage
        self.version = 1
        self.deploy()
        self.server = stage.serve(
            "shop:app",
            config=f"workers: {WORKERS}",
            timeout=3,
            graceful_timeout=5,
            boot_timeout=5,
            preload=preload,
        )
        self.server.allow_log(".")
        self.killed = Killed()
        assert self.server.address is not None
        begin = time.monotonic()
        self.clients = [
            Client(self.server.address, number % 2 == 0, 0.02, self.killed, begin)
            for number in range(12)
        ]
        self.stuck: list[Wire] = []
        self.done: list[str] = []

    def run(self, seconds: float) -> None:
        """Fault after fault, each as soon as the clients have got some answers since the last."""
        faults: list[Callable[[], None]] = [
            self.kill_worker,
            self.deadly_request,
            self.failing_request,
            self.stop_worker,
            self.stop_master,
            self.signal,
            self.reload,
            self.broken_deploy,
            self.no_descriptors,
            self.wink,
            self.broken_upgrade,
            self.kill_zygote,
        ]
        for client in self.clients:
            client.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.wait_answers(20)
            fault = self.chance.choice(faults)
            self.done.append(fault.__name__)
            fault()
        self.wait_answers(50)
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(30)
            assert not client.is_alive(), "a client hangs"

    def wait_answers(self, count: int) -> None:
        """So many answers more."""
        goal = self.answered() + count
        wait_until(lambda: self.answered() >= goal, 30, f"{count} answers after {self.done}")

    def answered(self) -> int:
        """Answers so far."""
        return sum(client.tally.answered for client in self.clients)

    def deploy(self, text: str = "") -> None:
        """New code, put there at once."""
        new = self.stage.directory / "shop.py.new"
        new.write_text(text or f"from plain import make\napp = make('v{self.version}')\n")
        new.rename(self.stage.directory / "shop.py")

    def some_worker(self) -> int | None:
        """Any worker."""
        workers = self.server.workers()
        return self.chance.choice(workers) if workers else None

    # The faults

    def kill_worker(self) -> None:
        """KILL to any worker, also one that boots or drains."""
        if (worker := self.some_worker()) is not None:
            with self.killed.dying(worker):
                os.kill(worker, signal.SIGKILL)

    def deadly_request(self) -> None:
        """A request in which its worker dies."""
        self.trouble(self.chance.choice(["/segfault", "/abort", "/exit", "/kill"]), dies=True)

    def failing_request(self) -> None:
        """A request for which there is no memory: it fails, and nobody else's."""
        self.trouble("/memory", dies=False)

    def trouble(self, path: str, dies: bool) -> None:
        """A request to make trouble, on a connection whose worker is known."""
        assert self.server.address is not None
        try:
            with Wire(self.server.address) as wire:
                worker = int(wire.send(request("GET", "/")).read_response().body.split()[1])
                if dies:
                    with self.killed.dying(worker):
                        wire.send(request("GET", path)).wait_closed()
                else:
                    status = wire.send(request("GET", path)).read_response().status
                    assert status == 500, status
        except (OSError, BadResponse):
            return

    def stop_worker(self) -> None:
        """STOP and CONT to a worker: its clients wait, the others' don't."""
        if (worker := self.some_worker()) is not None:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGSTOP)
                threading.Event().wait(self.chance.uniform(0.0, 0.4))
                os.kill(worker, signal.SIGCONT)

    def stop_master(self) -> None:
        """STOP and CONT to the master; for longer than its time limits, sometimes."""
        self.server.send(signal.SIGSTOP)
        threading.Event().wait(self.chance.choice([0.01, 0.2, 3.5]))
        self.server.send(signal.SIGCONT)

    def signal(self) -> None:
        """A few signals in a row."""
        for _ in range(self.chance.randrange(1, 5)):
            signum = self.chance.choice(["HUP", "TTIN", "TTOU", "USR1", "CHLD"])
            self.server.send(signal.Signals[f"SIG{signum}"])
            worker = self.some_worker()
            if worker is not None and signum in ("HUP", "USR1"):
                with suppress(ProcessLookupError):
                    os.kill(worker, self.chance.choice([signal.SIGHUP, signal.SIGWINCH]))

    def reload(self) -> None:
        """A good deploy, not waited for."""
        self.version += 1
        self.deploy()
        self.server.send(signal.SIGHUP)

    def broken_deploy(self) -> None:
        """Code that cannot be imported, mended soon."""
        self.deploy(self.chance.choice(["def app(:\n", "raise ImportError('chaos')\n", "x = 1\n"]))
        self.server.send(signal.SIGHUP)
        self.wait_answers(self.chance.randrange(1, 60))
        self.deploy()

    def resize(self, workers: int) -> None:
        """A reload with another number of workers, which ends what TTIN and TTOU have changed."""
        (self.stage.directory / "ironhorn.yaml").write_text(f"workers: {workers}\n")
        mark = self.server.log.mark()
        self.server.send(signal.SIGHUP)
        self.server.log.wait_for_line(r"\breloaded\b", 40, since=mark)
        self.server.wait_workers(workers, 40)

    def wink(self) -> None:
        """WINCH retires all workers, HUP brings others: what comes between waits."""
        self.server.send(signal.SIGWINCH)
        threading.Event().wait(self.chance.uniform(0.0, 0.3))
        self.server.send(signal.SIGHUP)

    def broken_upgrade(self) -> None:
        """A new master that cannot boot its app goes away again."""
        self.deploy("raise ImportError('chaos')\n")
        mark = self.server.log.mark()
        self.server.send(signal.SIGUSR2)
        self.server.log.wait_for_line("upgrade failed", 30, since=mark)
        self.deploy()

    def kill_zygote(self) -> None:
        """KILL to the process that workers are forked from, where there is one."""
        for zygote in self.server.zygotes():
            with suppress(ProcessLookupError):
                os.kill(zygote, signal.SIGKILL)

    def hang(self) -> None:
        """A deploy whose import hangs, or a request that does."""
        if self.chance.random() < 0.5:
            self.deploy("from plain import make\napp = make('v0', 'hangs')\n")
            self.server.send(signal.SIGHUP)
        else:
            self.stuck.append(self.server.connect().get("/stuck"))

    def no_descriptors(self) -> None:
        """A crowd, and a worker that may open no descriptor more."""
        worker = self.some_worker()
        if worker is None:
            return
        with suppress(ProcessLookupError):
            before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (20, before[1]))
            crowd = [self.server.connect() for _ in range(40)]
            self.wait_answers(20)
            for wire in crowd:
                wire.close()
            resource.prlimit(worker, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("seed", "preload"), [*((seed, False) for seed in SEEDS), *((seed, True) for seed in SEEDS[:2])]
)
def test_faults_in_any_order(stage: Stage, vitals, seed: int, preload: bool) -> None:
    """No request is lost that was not a killed worker's, and afterwards all is as before."""
    chaos = Chaos(stage, seed, preload)
    signs = vitals(chaos.server, WORKERS)
    print(f"seed {seed}")
    chaos.run(SECONDS)
    failed = [what for client in chaos.clients for what in client.tally.failed]
    assert not failed, f"seed {seed}, {chaos.done}: {failed}"

    for workers in (WORKERS + 1, WORKERS):
        chaos.resize(workers)
    signs.wait_recovered()
    server = chaos.server
    assert "panicked" not in server.log.text()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_master_killed_at_any_moment(stage: Stage, seed: int) -> None:
    """While workers boot, drain, are stuck, are stopped or die: none outlives it."""
    chaos = Chaos(stage, seed, preload=seed % 2 == 0)
    chaos.server.expected_exit = -signal.SIGKILL
    faults = [chaos.kill_worker, chaos.deadly_request, chaos.signal, chaos.reload, chaos.hang]
    for fault in chaos.chance.choices(faults, k=4):
        fault()
        chaos.done.append(fault.__name__)
    chaos.server.send(signal.SIGKILL)
    wait_until(lambda: not living(chaos.server.pid), 3, f"nobody is left after {chaos.done}")
    for wire in chaos.stuck:
        wire.close()
