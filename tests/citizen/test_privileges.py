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


@pytest.fixture
def secret(stage: Stage) -> Path:
    """A file of root's, beside a directory for logs that is the app's user's."""
    secret = stage.directory / "secret"
    secret.write_text("mine\n")
    secret.chmod(0o600)
    logs = stage.directory / "logs"
    logs.mkdir()
    os.chown(logs, NOBODY.pw_uid, NOBODY.pw_gid)
    return secret


def assert_is_roots(secret: Path) -> None:
    found = secret.stat()
    assert (secret.read_text(), found.st_uid) == ("mine\n", 0)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["error", "access"])
def test_a_link_of_the_users_is_not_followed(
    stage: Stage, serve, secret: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    """Root writes nothing to what it leads to, and gives it to nobody."""
    server = serve(
        user="nobody", error_logfile="logs/error", access_logfile="logs/access", ready=False
    )
    server.wait_answer("/who")
    log = stage.directory / "logs" / name
    log.rename(log.with_suffix(".1"))
    link(log, secret)
    errors = log.with_suffix(".1") if name == "error" else stage.directory / "logs" / "error"
    server.send(signal.SIGUSR1)
    server.send(signal.SIGHUP)
    wait_until(lambda: "reload failed" in errors.read_text(), what="a refusal")
    assert "others than root may write" in errors.read_text()
    log.unlink()
    server.wait_answer("/who")
    assert_is_roots(secret)
    assert server.stop() == 0
    assert_is_roots(secret)


def test_a_directory_that_is_a_link_of_the_users(stage: Stage, serve, secret: Path) -> None:
    """No file is made where only root may make any."""
    (stage.directory / "logs" / "app").symlink_to(stage.directory)
    server = serve(user="nobody", error_logfile="logs/app/error", ready=False)
    server.expected_exit = 1
    server.wait_exit()
    assert not (stage.directory / "error").exists()


def test_a_link_of_roots_is_followed(stage: Stage, serve, secret: Path) -> None:
    (stage.directory / "link").symlink_to("logs/error")
    (stage.directory / "logs" / "error").touch()
    os.chown(stage.directory / "logs" / "error", NOBODY.pw_uid, NOBODY.pw_gid)
    server = serve(user="nobody", error_logfile="link", ready=False)
    server.wait_answer("/who")
    server.send(signal.SIGUSR1)
    errors = stage.directory / "logs" / "error"
    wait_until(lambda: "ready after" in errors.read_text(), what="lines")
    assert server.stop() == 0
    assert "cannot" not in errors.read_text()


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


@pytest.mark.parametrize("uid", [NOBODY.pw_uid, 54321], ids=["known", "of no entry"])
def test_who_is_that_user_already(stage: Stage, public_command, uid: int) -> None:
    """Whatever its group: nothing is to be given up."""
    command, environment = public_command
    argv = ["--check-config", "--bind=127.0.0.1:0", f"--user={uid}", "toolbox:app"]
    as_it = ["setpriv", f"--reuid={uid}", "--regid=1", "--clear-groups", *command]
    done = run_once(stage, *argv, command=as_it, env=environment)
    assert done.returncode == 0, done.stderr
    done = run_once(stage, *argv[1:], "--group=2", command=as_it, env=environment)
    assert done.returncode != 0
    assert "user" in done.stderr
