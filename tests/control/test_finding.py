"""Which server is meant, who may ask it, and what is said if there is none."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat

import pytest
from harness import Stage, Wire, run_once, wait_until
from harness.process import state_of

pytestmark = pytest.mark.ironhorn("has another control interface")

NO_SERVER = 5


def test_the_socket_is_its_user_s_and_goes_with_the_server(stage: Stage, socket_of) -> None:
    server = stage.serve()
    path = socket_of(server)
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert server.stop() == 0
    assert not path.exists()


def test_workers_do_not_keep_it(stage: Stage, socket_of) -> None:
    server = stage.serve(workers=2)
    listening = inode_of(socket_of(server))
    assert listening in sockets_of(server.pid)
    for worker in server.workers():
        wait_until(lambda worker=worker: listening not in sockets_of(worker))


def inode_of(path: os.PathLike[str]) -> str:
    """The inode of the socket, as descriptors show it (proc(5), /proc/net/unix)."""
    with open("/proc/net/unix") as table:
        (line,) = [line for line in table if line.rstrip().endswith(str(path))]
    return line.split()[6]


def sockets_of(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def test_a_server_is_named_by_its_pid_or_its_socket(stage: Stage, ctl, socket_of) -> None:
    server = stage.serve()
    elsewhere = {"XDG_RUNTIME_DIR": "/nonexistent"}
    for target in (["--pid", server.pid], ["--socket", socket_of(server)]):
        done = ctl("status", *target, env=elsewhere)
        assert f"pid: {server.pid}\n" in done.stdout


def test_a_server_is_named_by_the_settings(stage: Stage, ctl, tmp_path_factory) -> None:
    other = stage.serve()
    server = stage.serve(
        "toolbox:app", config="control: run/shop.ctl\nchdir: .\n", workers=1, env={"NAME": "x"}
    )
    path = stage.directory / "run" / "shop.ctl"
    server.leaves_nothing_at.append(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ctl.json("status")["pid"] == server.pid
    assert ctl.json("status", "-c", "ironhorn.yaml")["pid"] == server.pid
    named = {"IRONHORN_CONTROL": str(path)}
    somewhere = tmp_path_factory.mktemp("somewhere")
    done = ctl("--json", "status", cwd=somewhere, env=named)
    assert f'"pid":{server.pid},' in done.stdout
    done = ctl("--json", "status", cwd=somewhere)
    assert f'"pid":{other.pid},' in done.stdout
    (stage.directory / "ironhorn.yaml").write_text("control: [\n")
    assert "not valid YAML" in ctl("status", "-c", "ironhorn.yaml", code=2).stderr
    assert "No such file" in ctl("status", "-c", "other.yaml", code=2).stderr


def test_a_server_configured_by_python(stage: Stage, ctl) -> None:
    """The file is Gunicorn's and knows nothing of a control socket: it isn't run for that."""
    (stage.directory / "gunicorn.conf.py").write_text("workers = 1\n")
    server = stage.serve("toolbox:app")
    (stage.directory / "gunicorn.conf.py").write_text("raise SystemExit(9)\n")
    assert ctl.json("status")["pid"] == server.pid
    assert ctl.json("status", "-c", "gunicorn.conf.py")["pid"] == server.pid


def test_a_unit_s_directory_is_found_by_the_pid(stage: Stage, ctl) -> None:
    """Which directory that is, the server alone knows."""
    runtime = stage.directory / "shop"
    runtime.mkdir(mode=0o755)
    server = stage.serve(env={"RUNTIME_DIRECTORY": str(runtime)})
    assert (runtime / f"{server.pid}.ctl").exists()
    assert ctl.json("status", "--pid", server.pid)["pid"] == server.pid
    server.leaves_nothing_at.append(runtime / f"{server.pid}.ctl")


def test_a_path_that_another_server_has(stage: Stage, ctl) -> None:
    server = stage.serve(control="shop.ctl")
    second = stage.serve(control="shop.ctl", ready=False)
    second.expected_exit = 1
    assert second.wait_exit() == 1
    assert "cannot open the control socket" in second.log.text()
    assert "shop.ctl" in second.log.text()
    assert ctl.json("status", "--socket", "shop.ctl")["pid"] == server.pid


def test_several_servers_are_listed(stage: Stage, ctl) -> None:
    servers = [stage.serve(), stage.serve("toolbox:hello")]
    done = ctl("stop", code=2)
    lines = done.stderr.splitlines()
    assert lines[0] == "ironhorn: several servers: name one by --pid or --socket"
    for server, app in zip(servers, ("toolbox:app", "toolbox:hello"), strict=True):
        assert f"ironhorn:   {server.pid}  {app} in {stage.directory}" in lines
        server.assert_running()


def test_a_path_is_checked_beforehand(stage: Stage) -> None:
    refused = run_once(stage, "--check-config", "--control=/nonexistent/a.ctl", "toolbox:app")
    assert refused.returncode == 1
    assert "/nonexistent/a.ctl" in refused.stderr
    stage.serve(control="shop.ctl")
    beside = run_once(stage, "--check-config", "--control=shop.ctl", "toolbox:app")
    assert beside.returncode == 0
    assert "note: " in beside.stderr


def test_what_a_killed_master_left_is_ignored_and_removed(stage: Stage, ctl, socket_of) -> None:
    killed = stage.serve()
    killed.expected_exit = -signal.SIGKILL
    killed.send(signal.SIGKILL)
    killed.wait_exit()
    stale = socket_of(killed)
    assert stale.exists()
    left = ctl("status", "--socket", stale, code=NO_SERVER)
    assert left.stderr == f"ironhorn: no server: {stale} was left by one that was killed\n"
    server = stage.serve()
    assert ctl.json("status")["pid"] == server.pid
    assert not stale.exists()


def test_a_path_that_a_killed_master_left_is_taken(stage: Stage, ctl) -> None:
    killed = stage.serve(control="shop.ctl")
    killed.expected_exit = -signal.SIGKILL
    killed.send(signal.SIGKILL)
    killed.wait_exit()
    server = stage.serve(control="shop.ctl")
    assert ctl.json("status", "--socket", "shop.ctl")["pid"] == server.pid


def test_a_server_that_hangs_is_not_waited_for(stage: Stage, ctl, socket_of) -> None:
    """Not even when so many wait for it that the kernel queues no more."""
    server = stage.serve()
    path = str(socket_of(server))
    server.send(signal.SIGSTOP)
    wait_until(lambda: state_of(server.pid) == "T")
    with contextlib.ExitStack() as queued:
        late = ctl("status", "--pid", server.pid, "--timeout=0.2", code=1)
        assert f"no answer from {path} within 0.2 s" in late.stderr
        while True:
            client = queued.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(path)
            except BlockingIOError:
                break
        for target in ([], ["--pid", server.pid]):
            late = ctl("status", *target, "--timeout=0.2", code=1)
            assert f"no answer from {path} within 0.2 s" in late.stderr
        other = stage.serve("toolbox:hello")
        both = ctl("status", code=2)
        assert f"ironhorn:   {server.pid}  (does not answer)" in both.stderr
        assert f"ironhorn:   {other.pid}  toolbox:hello" in both.stderr
    server.send(signal.SIGCONT)
    wait_until(lambda: ctl.json("status", "--pid", server.pid)["pid"] == server.pid)


def test_no_server(stage: Stage, ctl, root, open_directory) -> None:
    """As somebody who has none: root may have some on this machine."""
    done = ctl("status", as_nobody=True, code=NO_SERVER)
    assert done.stderr.startswith("ironhorn: no server of this user: none in ")
    assert "/tmp/ironhorn-65534" in done.stderr
    absent = ctl("status", "--socket", "none.ctl", code=NO_SERVER)
    assert absent.stderr == "ironhorn: no server: there is no none.ctl\n"
    assert ctl("status", "--pid", 4194304, code=NO_SERVER).stderr == (
        "ironhorn: no process 4194304\n"
    )
    nobody_s = ctl("status", "--pid", os.getpid(), code=NO_SERVER)
    assert f"process {os.getpid()} has no control socket" in nobody_s.stderr
    (open_directory / "ironhorn.yaml").write_text("control: [\n")
    done = ctl("status", as_nobody=True, cwd=open_directory, code=NO_SERVER)
    assert "not valid YAML" in done.stderr


def test_a_server_without_one(stage: Stage, ctl, socket_of) -> None:
    server = stage.serve("toolbox:app", config="control: none\n")
    assert not socket_of(server).exists()
    assert "the settings say control: none" in ctl("status", code=NO_SERVER).stderr
    assert "has no control socket" in ctl("status", "--pid", server.pid, code=NO_SERVER).stderr


def test_a_server_that_finds_no_place_serves(stage: Stage) -> None:
    """The socket is a help, no need."""
    too_long = stage.directory / ("x" * 100)
    too_long.mkdir()
    server = stage.serve(env={"RUNTIME_DIRECTORY": str(too_long)})
    assert server.get("/hello").status == 200


def test_another_user_is_refused(stage: Stage, ctl, root, open_directory) -> None:
    path = open_directory / "shop.ctl"
    server = stage.serve(control=path)
    refused = ctl("stop", "--socket", path, as_nobody=True, code=1)
    assert "only the user of that server may, and root" in refused.stderr
    refused = ctl("stop", "--pid", server.pid, as_nobody=True, code=1)
    assert "only" in refused.stderr
    # Who made it accessible to others has not made them the server's user.
    path.chmod(0o666)
    with server.complains("operator refused"):
        refused = ctl("stop", "--socket", path, as_nobody=True, code=1)
    assert refused.stderr == "ironhorn: user 65534 is not the server's\n"
    server.assert_running()
    assert ctl.json("status", "--socket", path)["pid"] == server.pid


def test_another_server_is_no_server(stage: Stage, ctl) -> None:
    stage.serve(bind="unix")
    refused = ctl("status", "--socket", "socket", code=1)
    assert "is no Ironhorn" in refused.stderr


def test_what_is_said_on_the_socket(stage: Stage, socket_of) -> None:
    """The protocol, for those who don't use the command."""
    server = stage.serve()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(socket_of(server)))
        client.sendall(b'{"command":"scale","workers":2}\n')
        assert client.makefile().readline() == '{"ok":true,"workers":2}\n'
    server.wait_workers(2)
    with Wire(server.address) as wire:
        assert wire.get("/hello").read_response().status == 200
