"""Settings of a gunicorn.conf.py are in effect, or said not to be; what is wrong is told."""

from __future__ import annotations

import os
import signal

import pytest
import yaml
from harness import Stage, run_once, wait_until

pytestmark = pytest.mark.ironhorn("reads such files anyway")

CHECK = ("--check-config", "--bind=127.0.0.1:0", "toolbox:app")


def test_settings_are_in_effect(stage: Stage, site) -> None:
    site.write(
        """
        import multiprocessing
        workers = min(multiprocessing.cpu_count(), 1) + 1
        accesslog = "access.log"
        access_log_format = "%(m)s %(s)s"
        errorlog = "-"
        loglevel = "DEBUG"
        pidfile = "pid"
        proc_name = "shop"
        raw_env = ["SHOP=open all day", "B=2"]
        keepalive = 7
        timeout = 12
        """
    )
    server = site.serve(workers=2)
    assert server.get("/hello").status == 200
    wait_until(lambda: (stage.directory / "access.log").read_text() == "GET 200\n")
    assert int((stage.directory / "pid").read_text()) == server.pid
    assert server.get("/variable?SHOP").body.strip() == b"open all day"
    assert len(server.workers()) == 2
    assert server.log.matching("settings are read from gunicorn.conf.py, as there is no ironhorn")
    assert not server.log.matching(" WARN ")


def test_what_each_becomes(stage: Stage, site) -> None:
    site.write(
        """
        wsgi_app = "shop.wsgi"
        bind = "127.0.0.1,unix:/run/shop.sock"
        backlog = 64
        workers = "3"
        worker_connections = 50
        max_requests = 1000
        max_requests_jitter = 50
        timeout = 90
        graceful_timeout = 20
        keepalive = 0
        limit_request_line = 0
        limit_request_fields = 50
        header_map = "dangerous"
        preload_app = True
        umask = 0o027
        initgroups = True
        pythonpath = "lib,vendor"
        capture_output = True
        control_socket_disable = True
        loglevel = "warning"
        """
    )
    done = run_once(stage, "--print-config")
    assert done.returncode == 0, done.stderr
    settings = yaml.load(done.stdout, yaml.BaseLoader)
    expected = {
        "app": "shop.wsgi",
        "bind": ["127.0.0.1", "unix:/run/shop.sock"],
        "backlog": "64",
        "workers": "3",
        "worker_connections": "50",
        "max_requests": "1000",
        "max_requests_jitter": "50",
        "timeout": "90",
        "graceful_timeout": "20",
        "keepalive": "0",
        "limit_request_line": "65536",
        "limit_request_fields": "50",
        "header_map": "allow",
        "preload": "true",
        "initgroups": "true",
        "pythonpath": ["lib", "vendor"],
        "capture_output": "true",
        "control": "none",
        "log_level": "warning",
    }
    assert {key: settings[key] for key in expected} == expected
    assert int(settings["umask"].replace("0o", ""), 8) == 0o27
    assert "gunicorn.conf.py:9: timeout" in done.stdout


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("forwarded_allow_ips = '10.0.0.0/8, ::1'", "forwarded_allow_ips", ["10.0.0.0/8", "::1"]),
        ("forwarded_allow_ips = ['*']", "forwarded_allow_ips", ["*"]),
        ("forwarded_allow_ips = ''", "forwarded_allow_ips", ["unix"]),
        ("forwarder_headers = 'SCRIPT_NAME,PATH_INFO'", "forwarder_headers", ["SCRIPT_NAME"]),
        ("proxy_protocol = True", "proxy_protocol", "auto"),
        ("proxy_protocol = 'v2'", "proxy_protocol", "v2"),
        ("proxy_protocol = False", "proxy_protocol", "off"),
        ("proxy_allow_ips = '10.0.0.1'", "proxy_allow_from", ["10.0.0.1"]),
        (
            "secure_scheme_headers = {'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL': 'on'}",
            "forwarded_allow_ips",
            ["127.0.0.1", "::1"],
        ),
    ],
)
def test_those_of_proxies(stage: Stage, site, text: str, key: str, value: str | list[str]) -> None:
    site.write(text + "\n")
    done = run_once(stage, "--print-config", "toolbox:app")
    assert yaml.load(done.stdout, yaml.BaseLoader)[key] == value


def test_warnings_one_each(stage: Stage, site) -> None:
    site.write(
        """
        worker_class = "gevent"
        threads = 4
        secure_scheme_headers = {"X-OWN-SCHEME": "https"}
        statsd_host = "localhost:8125"
        logconfig_dict = {"version": 1}
        reuse_port = True
        worker_tmp_dir = "/dev/shm"
        sendfile = True
        spew = False
        wrokers = 3
        helper = 5
        def worker_abort(worker): pass
        """
    )
    server = site.serve()
    names = [
        "worker_class",
        "secure_scheme_headers",
        "statsd_host",
        "logconfig_dict",
        "reuse_port",
        "wrokers",
        "worker_abort",
    ]
    for name in names:
        assert len(server.log.matching(rf" WARN .*gunicorn\.conf\.py:\d+: {name}: ")) == 1, name
    assert len(server.log.matching(" WARN ")) == len(names), server.log.text()
    assert server.log.matching("did you mean workers?")
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    assert len(server.log.matching(" WARN ")) == len(names), "said once"
    assert server.get("/hello").status == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nworkers = 'four'\n", "line 2: workers: found 'four', expected a number"),
        ("workers = 0\n", r'gunicorn.conf.py:1: workers: found "0", expected a number from 1'),
        ("bind = 8000\n", "line 1: bind: found 8000, expected a list of addresses"),
        ("post_fork = 'no'\n", "line 1: post_fork: found 'no', expected a function"),
        ("import os\nx = os.environ['NOPE']\n", "line 2: KeyError: 'NOPE'"),
        ("x = 1\ndef f(:\n", "line 2: not valid Python"),
        ("import sys\nsys.exit(1)\n", "line 2: SystemExit: 1"),
        ("certfile = 'cert.pem'\n", "gunicorn.conf.py:1: certfile: cannot read cert.pem"),
        ("keyfile = 'key.pem'\n", "gunicorn.conf.py:1: keyfile: needs certfile"),
        ("ciphers = 'HIGH:!aNULL'\n", 'found "HIGH", expected names of suites'),
        ("ssl_context = print\n", "line 1: ssl_context: the settings say"),
        ("worker_class = 'uvicorn.workers.UvicornWorker'\n", "doesn't serve ASGI"),
        ("proxy_protocol = 'v3'\n", 'proxy_protocol: found "v3", expected off, v1, v2 or auto'),
        ("forwarded_allow_ips = '10.0.0.0/33'\n", 'found "10.0.0.0/33", expected an address'),
        ("secure_scheme_headers = 'https'\n", "expected a dict of names and values"),
    ],
)
def test_what_is_wrong_is_told(stage: Stage, site, text: str, said: str) -> None:
    site.write(text)
    done = run_once(stage, *CHECK)
    assert done.returncode == 2
    assert said in done.stderr, done.stderr
    assert "gunicorn.conf.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_what_it_imports(stage: Stage, site) -> None:
    (stage.directory / "beside.py").write_text("\n\nraise ValueError('broken')\n")
    site.write("import beside\n")
    done = run_once(stage, *CHECK)
    assert done.returncode == 2
    assert "line 1: ValueError: broken (raised in" in done.stderr
    assert "beside.py:3)" in done.stderr


@pytest.mark.parametrize(
    "option",
    ["conf/here.py", "file:conf/here.py", "file:conf/here", "python:conf.here", "{}/conf/here.py"],
)
def test_ways_to_name_it(stage: Stage, site, option: str) -> None:
    (stage.directory / "conf").mkdir()
    for name in ("conf/here.py", "conf/here"):
        site.write("workers = 3\nassert __name__ and __file__\n", name)
    site.write("workers = 2\n")
    option = option.format(stage.directory)
    done = run_once(stage, "--print-config", "-c", option, "toolbox:app")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["workers"] == 3


def test_one_that_is_not_there(stage: Stage) -> None:
    done = run_once(stage, *CHECK, "-c", "gone.py")
    assert done.returncode == 2
    assert "gone.py: cannot read: No such file or directory" in done.stderr


def test_what_it_prints_is_printed_once(site) -> None:
    site.write("print('read')\nworkers = 2\n")
    server = site.serve(workers=2)
    assert server.stop() == 0
    server.output.wait_for_end()
    assert server.output.lines() == ["read"]


def test_ironhorn_yaml_goes_first(stage: Stage, site) -> None:
    site.write("workers = 3\n")
    (stage.directory / "ironhorn.yaml").write_text("timeout: 9\n")
    done = run_once(stage, "--print-config", "toolbox:app")
    settings = yaml.safe_load(done.stdout)
    assert (settings["workers"], settings["timeout"]) == (1, 9)


def test_the_command_line_wins(stage: Stage, site) -> None:
    site.write("workers = 3\ntimeout = 9\n")
    done = run_once(stage, "--print-config", "--workers=2", "toolbox:app")
    settings = yaml.safe_load(done.stdout)
    assert (settings["workers"], settings["timeout"]) == (2, 9)


def test_a_variable_that_wins_is_told(site) -> None:
    site.write("workers = 3\n")
    server = site.serve(env={"WEB_CONCURRENCY": "2"}, workers=2)
    assert len(server.workers()) == 2
    assert server.log.matching("WARN .*workers: the variable WEB_CONCURRENCY wins over the file")


def test_a_reload_runs_it_again(stage: Stage, site) -> None:
    (stage.directory / "beside.py").write_text("COUNT = 1\n")
    site.write("import beside\nworkers = beside.COUNT\n")
    server = site.serve()
    (stage.directory / "beside.py").write_text("COUNT = 2\n")
    server.send(signal.SIGHUP)
    server.wait_ready(3)
    server.log.wait_for_line("generation=1 .*exited")
    assert len(server.wait_workers(2)) == 2


@pytest.mark.parametrize("text", ["def f(:\n", "1 / 0\n", "workers = 'x'\n", "workers = 0\n"])
def test_a_broken_one_changes_nothing(site, text: str) -> None:
    site.write("def child_exit(server, worker): _note('child_exit', cfg=server.cfg.workers)\n")
    server = site.serve()
    server.allow_log("reload failed", "worker died", "SIGKILL")
    worker = server.worker()
    site.write(text)
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reload failed .*gunicorn.conf.py")
    assert server.worker() == worker
    assert server.get("/hello").status == 200
    os.kill(worker, signal.SIGKILL)
    assert site.wait_noted("child_exit")["cfg"] == 1


@pytest.mark.alone
def test_one_that_hangs_at_a_reload_changes_nothing(site) -> None:
    site.write("workers = 1\n")
    server = site.serve()
    server.allow_log("reload failed")
    site.write("import threading\nworkers = 1\nthreading.Event().wait()\n")
    server.send(signal.SIGHUP)
    told = r"reload failed.*gunicorn.conf.py: line 3: it did not end within 10 s \(raised in "
    server.log.wait_for_line(told, 20)
    assert server.get("/hello").status == 200
    assert server.stop() == 0


def test_a_stop_does_not_wait_for_one_that_hangs(site) -> None:
    site.write("workers = 1\n")
    server = site.serve()
    server.allow_log("reload failed")
    site.write("import threading\n_note('hangs')\nthreading.Event().wait()\n")
    text = (site.stage.directory / "gunicorn.conf.py").read_text()
    (site.stage.directory / "gunicorn.conf.py").write_text(text[text.index("import json") :] + text)
    server.send(signal.SIGHUP)
    wait_until(lambda: site.noted("hangs"))
    assert server.stop() == 0
