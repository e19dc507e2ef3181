"""USR2: a new master from disk on the same listeners; either of the two can be stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Load, Server, Stage, is_alive, wait_until
from harness.masters import GONE, Master, workers_of

pytestmark = pytest.mark.ironhorn("hands over in another way")

Upgrade = Callable[..., Master]


def deploy(stage: Stage, version: str, trouble: str = "") -> None:
    new = stage.directory / "shop.py.new"
    new.write_text(f"from deployed import make\n\napp = make({version!r}, {trouble!r})\n")
    new.rename(stage.directory / "shop.py")


def serve(stage: Stage, bind: str | None, *arguments: str, **settings: object) -> Server:
    """A server that binds its address itself, except for `fd`, which is inherited."""
    deploy(stage, "v1")
    if bind != "tcp":
        kind = "tcp" if bind == "fd" else "unix"
        return stage.serve("shop:app", *arguments, bind=kind, **settings)
    server = stage.serve("shop:app", "--bind=127.0.0.1:0", *arguments, bind=None, **settings)
    found = re.search(r"address=127\.0\.0\.1:(\d+)", server.log.wait_for_line("listening"))
    assert found
    server.address = ("127.0.0.1", int(found[1]))
    return server


def content(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def answers(server: Server, version: bytes) -> bool:
    return server.get("/").body == version


def go_back(server: Server, master: Master) -> None:
    """Stops the new master, and waits until the old one has noticed."""
    master.stop()
    server.log.wait_for_line(rf"upgrade failed.*pid {master.pid}, is gone")


@pytest.mark.parametrize("bind", ["tcp", "unix", "fd"])
def test_the_new_takes_over(stage: Stage, upgrade: Upgrade, bind: str) -> None:
    server = serve(stage, bind, workers=2)
    deploy(stage, "v2")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(50)
        master = upgrade(server, workers=2)
        load.wait_more(50)
        assert server.stop() == 0
        load.wait_more(50)
        report = load.stop()
    report.assert_none_failed()
    assert set(report.bodies()) == {b"v1", b"v2"}
    assert answers(server, b"v2")
    master.stop()
    assert master.code == 0


@pytest.mark.parametrize("bind", ["tcp", "unix", "fd"])
def test_the_old_goes_on(stage: Stage, upgrade: Upgrade, bind: str) -> None:
    """Going back: the new master is stopped."""
    server = serve(stage, bind, workers=2)
    server.allow_log(GONE)
    before = server.workers()
    deploy(stage, "v2")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(50)
        master = upgrade(server, workers=2)
        load.wait_more(50)
        go_back(server, master)
        load.wait_more(50)
        report = load.stop()
    report.assert_none_failed()
    assert server.workers() == before
    assert answers(server, b"v1")


@pytest.mark.parametrize("bind", ["unix", "fd"])
def test_what_the_new_one_inherits(stage: Stage, upgrade: Upgrade, bind: str) -> None:
    """Nothing but the listeners and the standard streams."""
    server = serve(stage, bind)
    master = upgrade(server)
    assert server.stop() == 0
    assert sockets(master.pid) <= sockets_of_server(server), "more sockets than it needs"
    environment = Path(f"/proc/{master.workers()[0]}/environ").read_bytes()
    assert b"TEST_DIR=" in environment
    master.stop()


def sockets(pid: int) -> int:
    return sum(1 for link in links(pid) if link.startswith("socket:"))


def sockets_of_server(server: Server) -> int:
    """A listener and the passage beside it, the channel to the worker, the control socket and the
    copy that keeps its file's inode, and the original of fd://N.
    """
    return 7


def links(pid: int) -> Iterator[str]:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            yield os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue


def test_the_pid_file(stage: Stage, upgrade: Upgrade) -> None:
    server = serve(stage, "fd", pid="server.pid")
    server.allow_log(GONE)
    path, aside = stage.directory / "server.pid", stage.directory / "server.pid.oldbin"
    assert (content(path), content(aside)) == (str(server.pid), None)

    first = upgrade(server)
    assert (content(path), content(aside)) == (str(first.pid), str(server.pid))
    go_back(server, first)
    wait_until(lambda: content(path) == str(server.pid), what="the old master's pid file")
    assert content(aside) is None

    second = upgrade(server)
    assert (content(path), content(aside)) == (str(second.pid), str(server.pid))
    assert server.stop() == 0
    assert (content(path), content(aside)) == (str(second.pid), None)
    second.stop()
    assert (content(path), content(aside)) == (None, None)


def test_the_socket_file(stage: Stage, upgrade: Upgrade) -> None:
    """The last of the two removes it."""
    server = serve(stage, "unix")
    server.allow_log(GONE)
    path = stage.directory / "socket"
    inode = path.stat().st_ino
    go_back(server, upgrade(server))
    assert path.stat().st_ino == inode
    second = upgrade(server)
    assert server.stop() == 0
    assert path.stat().st_ino == inode
    assert answers(server, b"v1")
    second.stop()
    assert not path.exists()


def test_a_socket_that_the_new_one_does_not_want(stage: Stage, upgrade: Upgrade) -> None:
    paths = {name: stage.directory / name for name in ("kept", "dropped", "added")}
    config = stage.directory / "ironhorn.yaml"

    def text(*names: str) -> str:
        return "bind:\n" + "".join(f"  - unix:{paths[name]}\n" for name in names)

    deploy(stage, "v1")
    server = stage.serve("shop:app", bind=None, config=text("kept", "dropped"))
    config.write_text(text("kept", "added"))
    master = upgrade(server)
    assert all(path.exists() for path in paths.values())
    assert server.stop() == 0
    server.address = str(paths["added"])
    assert answers(server, b"v1")
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(paths["dropped"]))
    master.stop()
    assert not [path for path in paths.values() if path.exists()]


@pytest.mark.parametrize("bind", ["unix", "fd"])
@pytest.mark.parametrize("trouble", ["code", "settings"])
def test_a_broken_new_version(stage: Stage, upgrade: Upgrade, bind: str, trouble: str) -> None:
    server = serve(stage, bind, pid="server.pid", config="workers: 1\n")
    server.allow_log(
        GONE, "boot failed", "worker died", "Traceback", "RuntimeError", r"^  ", "start failed"
    )
    before = server.workers()
    if trouble == "code":
        deploy(stage, "v2", "raises")
    else:
        (stage.directory / "ironhorn.yaml").write_text("wrokers: 2\n")
    master = upgrade(server, workers=None)
    code = {"code": 3, "settings": 2}[trouble]
    server.log.wait_for_line(rf"upgrade failed.*pid {master.pid}, is gone: exit code {code}", 20)
    pidfile = stage.directory / "server.pid"
    wait_until(lambda: content(pidfile) == str(server.pid), what="the old master's pid file")
    assert not (stage.directory / "server.pid.oldbin").exists()
    assert workers_of(server.pid) == before
    assert answers(server, b"v1")

    deploy(stage, "v2")
    (stage.directory / "ironhorn.yaml").write_text("workers: 1\n")
    better = upgrade(server)
    assert server.stop() == 0
    assert answers(server, b"v2")
    better.stop()


def test_one_at_a_time(stage: Stage, upgrade: Upgrade) -> None:
    """Neither a second new master nor a newer one than the new, while the old one is there."""
    server = serve(stage, "fd")
    server.allow_log(GONE)
    master = upgrade(server)
    with server.complains(rf"upgrade failed.*already upgrading to pid {master.pid}"):
        server.send(signal.SIGUSR2)
    with server.complains(rf"upgrade failed.*takes over from, {server.pid}, still runs"):
        master.send(signal.SIGUSR2)
    assert server.stop() == 0
    third = upgrade(server, old=master.pid)
    master.stop()
    assert answers(server, b"v1")
    third.stop()
    assert third.code == 0


def test_kill_of_the_old(stage: Stage, upgrade: Upgrade) -> None:
    server = serve(stage, "unix", pid="server.pid")
    master = upgrade(server)
    server.expected_exit = -signal.SIGKILL
    server.send(signal.SIGKILL)
    assert server.wait_exit() == -signal.SIGKILL
    assert answers(server, b"v1")
    assert content(stage.directory / "server.pid") == str(master.pid)
    # It is the last one now, whoever was there before.
    master.stop()
    assert not (stage.directory / "socket").exists()
    (stage.directory / "server.pid.oldbin").unlink()


def test_kill_of_the_new(stage: Stage, upgrade: Upgrade) -> None:
    server = serve(stage, "unix", pid="server.pid")
    server.allow_log(GONE)
    master = upgrade(server)
    master.send(signal.SIGKILL)
    server.log.wait_for_line(r"upgrade failed.*signal SIGKILL")
    pidfile = stage.directory / "server.pid"
    wait_until(lambda: content(pidfile) == str(server.pid), what="the old master's pid file")
    assert answers(server, b"v1")


def test_it_starts_as_the_first_one_did(stage: Stage, upgrade: Upgrade) -> None:
    """The same directory, environment, umask and arguments, whatever has become of them here."""
    (stage.directory / "app").mkdir()
    deploy(stage, "v1")
    (stage.directory / "shop.py").rename(stage.directory / "app" / "shop.py")
    server = stage.serve("shop:app", "--chdir=app", "--umask=0077", env={"MARKER": "kept"})
    master = upgrade(server)
    assert os.readlink(f"/proc/{master.pid}/cwd") == str(stage.directory / "app")
    assert b"MARKER=kept" in Path(f"/proc/{master.pid}/environ").read_bytes()
    assert server.stop() == 0
    assert answers(server, b"v1")
    master.stop()


def test_the_control_socket_at_a_path(stage: Stage, upgrade: Upgrade) -> None:
    path = stage.directory / "ctl"
    server = serve(stage, "fd", f"--control={path}")
    server.allow_log(GONE)
    inode = path.stat().st_ino
    go_back(server, upgrade(server))
    wait_until(lambda: path.exists() and path.stat().st_ino == inode, what="the old one's socket")
    second = upgrade(server)
    assert path.stat().st_ino != inode
    assert server.stop() == 0
    assert path.exists()
    second.stop()
    assert sorted(stage.directory.glob("ctl*")) == []


def test_winch_lets_the_workers_go_and_hup_brings_them_back(stage: Stage) -> None:
    server = serve(stage, "fd", workers=2)
    before = server.workers()
    with server.complains("workers leave, the master stays"):
        server.send(signal.SIGWINCH)
    server.wait_workers(0)
    server.assert_running()
    with server.complains("reloaded"):
        server.send(signal.SIGHUP)
    assert len(server.wait_workers(2)) == 2
    assert not set(before) & set(server.workers())
    assert answers(server, b"v1")


def test_winch_then_term(stage: Stage) -> None:
    server = serve(stage, "unix", workers=2)
    server.send(signal.SIGWINCH)
    server.wait_workers(0)
    assert server.stop() == 0


def test_the_old_without_workers_and_back(stage: Stage, upgrade: Upgrade) -> None:
    """What an operator does: watch the new one alone, then decide against it."""
    server = serve(stage, "unix", workers=2)
    server.allow_log(GONE)
    deploy(stage, "v2")
    with Load(server.address, keep_alive=4, one_request=4) as load:
        master = upgrade(server, workers=2)
        server.send(signal.SIGWINCH)
        wait_until(lambda: not workers_of(server.pid), what="no worker of the old master")
        assert answers(server, b"v2")
        deploy(stage, "v1")
        server.send(signal.SIGHUP)
        wait_until(lambda: len(workers_of(server.pid)) == 2, what="workers of the old master")
        server.log.wait_for_line("reloaded")
        master.stop()
        load.wait_more(50)
        report = load.stop()
    report.assert_none_failed()
    assert answers(server, b"v1")
    assert is_alive(server.pid)
