"""A gunicorn.conf.py that imports from the app's package: a reload still serves the new code."""

from __future__ import annotations

import signal
import sysconfig
from pathlib import Path

import pytest
from harness import Stage
from harness.server import APPS

pytestmark = pytest.mark.ironhorn("imports the app in the master with preload alone")

WSGI = """
from shop.version import VERSION

def app(environ, start_response):
    body = f"{VERSION} {THERE}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
WARNING = "gunicorn.conf.py: it imports shop, shop.version of the app's package"


class Package:
    """The app's, outside of the start directory."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.directory = directory / "shop"
        self.directory.mkdir(parents=True)
        self.env = {"PYTHONPATH": f"{directory}:{APPS}", **env}
        (self.directory / "__init__.py").touch()

    def write(self, version: str) -> None:
        """A release of it."""
        (self.directory / "version.py").write_text(f"VERSION = {version!r}\n")
        (self.directory / "wsgi.py").write_text(f"THERE = {version!r}\n{WSGI}")


@pytest.fixture(params=["beside", "installed"])
def package(request: pytest.FixtureRequest, stage: Stage) -> Package:
    """In a directory of PYTHONPATH's, or in one of those that hold what is installed."""
    base = stage.directory / "base"
    if request.param == "beside":
        return Package(base, {})
    scheme = sysconfig.get_preferred_scheme("user")
    installed = sysconfig.get_path("purelib", scheme, {"userbase": str(base)})
    return Package(Path(installed), {"PYTHONUSERBASE": str(base)})


CONF = "from shop.version import VERSION\nraw_env = [f'SHOP={VERSION}']\n"
HOOK = "def post_fork(server, worker): pass\n"


@pytest.mark.parametrize("text", [CONF, CONF + HOOK], ids=["settings", "hooks"])
def test_a_reload_serves_new_code(stage: Stage, package: Package, text: str) -> None:
    package.write("first")
    (stage.directory / "gunicorn.conf.py").write_text(text)
    server = stage.serve("shop.wsgi:app", env=package.env)
    assert server.get("/").body == b"first first"
    assert server.log.matching(WARNING)
    package.write("the second")
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("generation=1 .*exited")
    assert server.get("/").body == b"the second the second"


def test_also_after_one_that_failed(stage: Stage, package: Package) -> None:
    """A worker that is replaced meanwhile begins without what the failed one has imported."""
    package.write("first")
    conf = stage.directory / "gunicorn.conf.py"
    conf.write_text(CONF)
    server = stage.serve("shop.wsgi:app", env=package.env)
    server.allow_log("reload failed")
    conf.write_text(CONF + "workers = 'many'\n")
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reload failed")
    package.write("the second")
    with server.complains(r"pid=\d+ ready"):
        server.send(signal.SIGTTIN)
    server.send(signal.SIGTTOU)
    server.wait_workers(1)
    conf.write_text(CONF)
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("generation=1 .*exited")
    assert server.get("/").body == b"the second the second"


def test_a_module_of_hooks_in_the_package(stage: Stage, package: Package) -> None:
    """The app finds the module that was run for its generation, in its package."""
    package.write("first")
    hooks = package.directory / "hooks.py"
    text = "from shop.version import VERSION\ndef post_fork(worker):\n    global nr\n    nr = {}\n"
    hooks.write_text(text.format("worker.nr"))
    wsgi = package.directory / "wsgi.py"
    found = "import shop.hooks\nTHERE = (shop.hooks.VERSION, shop.hooks.nr)\n"
    wsgi.write_text(found + WSGI)
    server = stage.serve("shop.wsgi:app", hooks="shop.hooks", env=package.env)
    assert server.get("/").body == b"first ('first', 1)"
    package.write("the second")
    wsgi.write_text(found + WSGI)
    hooks.write_text(text.format("-worker.nr"))
    server.send(signal.SIGHUP)
    server.log.wait_for_line("reloaded")
    server.log.wait_for_line("generation=1 .*exited")
    body = server.get("/").body
    assert body == b"the second ('the second', -2)", body
