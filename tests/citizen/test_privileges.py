"""--user, --group, --initgroups: the app is not root's, the master stays it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Server, Stage, run_once, wait_until

pytestmark = pytest.mark.ironhorn("keeps root's groups")

NOBODY = pwd.getpwnam("nobody")
APP = """
import json, os
from toolbox import app as toolbox

AT_IMPORT = [os.getuid(), os.geteuid(), os.getgid(), sorted(os.getgroups())]

def app(environ, start_response):
    if environ["PATH_INFO"] != "/who":
        return toolbox(environ, start_response)
    body = json.dumps(AT_IMPORT).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory for the stage that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="ironhorn-public-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture
def serve(stage: Stage, public_command) -> Callable[..., Server]:
    command, environment = public_command
    (stage.directory / "who.py").write_text(APP)
    (stage.directory / "spool").chmod(0o777)

    def start(*arguments: str, **settings: object) -> Server:
        return stage.serve("who:app", *arguments, command=command, env=environment, **settings)

    return start


def ids(pid: int, name: str) -> list[int]:
    """The line of /proc/PID/status: real, effective, saved and file-system ids, or all groups."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name + ":"))
    return [int(number) for number in line.split()[1:]]


@pytest.mark.parametrize("preload", [False, True])
def test_a_user(serve, preload: bool) -> None:
    server = serve(user="nobody", preload=preload)
    assert json.loads(server.get("/who").body) == [
        NOBODY.pw_uid,
        NOBODY.pw_uid,
        NOBODY.pw_gid,
        [NOBODY.pw_gid],
    ]
    assert set(ids(server.pid, "Uid")) == {0}
    workers = [pid for pid in server.workers() if pid != server.pid]
    for worker in workers:
        assert set(ids(worker, "Uid")) == {NOBODY.pw_uid}
        assert set(ids(worker, "Gid")) == {NOBODY.pw_gid}
        assert ids(worker, "Groups") == [NOBODY.pw_gid]


def test_a_group_and_numbers(serve) -> None:
    server = serve(user=str(NOBODY.pw_uid), group="daemon")
    group = grp.getgrnam("daemon").gr_gid
    assert json.loads(server.get("/who").body) == [NOBODY.pw_uid, NOBODY.pw_uid, group, [group]]


def test_a_group_alone(serve) -> None:
    server = serve(group="daemon")
    group = grp.getgrnam("daemon").gr_gid
    assert json.loads(server.get("/who").body) == [0, 0, group, [group]]


def test_all_groups_of_a_user(serve) -> None:
    """A user of this machine that is in more groups than one, if there is such."""
    several = [
        user
        for user in pwd.getpwall()
        if user.pw_uid and len(os.getgrouplist(user.pw_name, user.pw_gid)) > 1
    ]
    user = several[0] if several else NOBODY
    server = serve("--initgroups", user=user.pw_name)
    groups = sorted(os.getgrouplist(user.pw_name, user.pw_gid))
    assert json.loads(server.get("/who").body)[3] == groups


def test_its_end_with_the_master(serve) -> None:
    """A change of the user clears the kernel's promise to end it; it is made again."""
    server = serve(user="nobody")
    server.expected_exit = -signal.SIGKILL
    worker = server.worker()
    os.kill(worker, signal.SIGSTOP)  # so that it can't see the end of file
    server.send(signal.SIGKILL)
    server.wait_exit()
    Stage.wait_no_orphans()


def test_log_files_are_the_users(stage: Stage, serve) -> None:
    """USR1 works in a directory where only root may make files."""
    server = serve(
        user="nobody", error_logfile="error.log", access_logfile="access.log", ready=False
    )
    server.wait_answer("/who")
    logs = [stage.directory / name for name in ("error.log", "access.log")]

    def assert_owned() -> None:
        for log in logs:
            found = log.stat()
            assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)

    assert_owned()
    for log in logs:
        log.rename(log.with_suffix(".1"))
    server.send(signal.SIGUSR1)
    wait_until(lambda: all(log.exists() for log in logs), what="new log files")

    def is_logged() -> bool:
        server.get("/hello?after")
        return "after" in logs[1].read_text()

    wait_until(is_logged, what="a line of the worker's in the new file")
    assert_owned()
    assert "cannot" not in logs[0].read_text()


def test_a_link_is_not_given_away(stage: Stage, serve) -> None:
    """What a log file is linked to stays root's."""
    target = stage.directory / "target"
    target.touch(mode=0o600)
    (stage.directory / "access.log").symlink_to(target)
    server = serve(user="nobody", access_logfile="access.log", ready=False)
    server.expected_exit = 3
    server.allow_log("cannot open the access log", "worker died", "start failed")
    server.wait_exit()
    assert target.stat().st_uid == 0


def test_the_unix_socket_is_the_users(stage: Stage, serve) -> None:
    server = serve(bind="unix", user="nobody", group="daemon")
    found = (stage.directory / "socket").stat()
    assert found.st_uid == NOBODY.pw_uid
    assert found.st_gid == grp.getgrnam("daemon").gr_gid
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert server.get("/who").status == 200


def test_a_reload_takes_another_user(stage: Stage, serve) -> None:
    server = serve(config="user: nobody\n")
    (stage.directory / "ironhorn.yaml").write_text("user: daemon\n")
    with server.complains("reloaded"):
        server.send(signal.SIGHUP)
    assert json.loads(server.get("/who").body)[0] == pwd.getpwnam("daemon").pw_uid


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--user=no-such-user", 'command line: user: there is no user "no-such-user"'),
        ("--group=no-such-group", 'command line: group: there is no group "no-such-group"'),
        ("--user=4294967290", "user: user 4294967290 has no entry"),
    ],
)
def test_nobody_of_that_name(stage: Stage, flag: str, message: str) -> None:
    for more in ([], ["--check-config"]):
        done = run_once(stage, "--bind=127.0.0.1:0", flag, *more, "toolbox:app")
        assert done.returncode == 2
        assert message in done.stderr


def test_a_reload_with_nobody_of_that_name(stage: Stage, serve) -> None:
    server = serve(config="user: nobody\n")
    server.allow_log("reload failed")
    (stage.directory / "ironhorn.yaml").write_text("user: no-such-user\n")
    with server.complains("reload failed.*no user .*no-such-user"):
        server.send(signal.SIGHUP)
    assert json.loads(server.get("/who").body)[0] == NOBODY.pw_uid


def test_only_root_can(stage: Stage, public_command) -> None:
    command, environment = public_command
    argv = ["--bind=127.0.0.1:0", "--user=root", "toolbox:app"]
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    done = run_once(stage, *argv, command=as_nobody, env=environment)
    assert done.returncode == 1
    assert 'only root can run workers as "root"' in done.stderr
    done = run_once(stage, "--check-config", *argv, command=as_nobody, env=environment)
    assert done.returncode == 0, done.stderr
