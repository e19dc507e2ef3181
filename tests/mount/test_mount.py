"""Several apps under prefixes: who answers, SCRIPT_NAME and PATH_INFO, boot, reload."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from wsgiref.util import shift_path_info

import pytest
from frameworks.browser import Browser
from harness import Server, Stage, run_once, wait_until
from proxy.nginx import Nginx

pytestmark = pytest.mark.ironhorn("no mounts")

APP = """
import json
from wsgiref.util import request_uri
from wsgiref.validate import validator

def answer(environ, start_response):
    names = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI")
    seen = {name: environ[name] for name in names}
    seen |= {"app": NAME, "url": request_uri(environ)}
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

app = validator(answer)
"""


def write(stage: Stage, *names: str) -> None:
    for name in names:
        (stage.directory / f"{name}.py").write_text(f"NAME = {name!r}\n{APP}")


def seen(server: Server, target: str) -> tuple[str, str, str]:
    """Which app answers, with which SCRIPT_NAME and PATH_INFO."""
    response = server.get(target)
    assert response.status == 200, response
    found = json.loads(response.body)
    assert found["REQUEST_URI"] == target
    return found["app"], found["SCRIPT_NAME"], found["PATH_INFO"]


@pytest.mark.parametrize("preload", [False, True])
def test_the_longest_prefix_answers(stage: Stage, preload: bool) -> None:
    write(stage, "site_", "api", "v2")
    server = stage.serve(
        "site_:app", mount=["/api=api:app", "/api/v2/=v2:app"], preload=preload, workers=2
    )
    for target, expected in [
        ("/", ("site_", "", "/")),
        ("/apis", ("site_", "", "/apis")),
        ("/API/x", ("site_", "", "/API/x")),
        ("/api", ("api", "/api", "")),
        ("/api/", ("api", "/api", "/")),
        ("/api/users?x=/api/v2", ("api", "/api", "/users")),
        ("/api/v2", ("v2", "/api/v2", "")),
        ("/api/v22", ("api", "/api", "/v22")),
        ("/api/v2/users", ("v2", "/api/v2", "/users")),
        ("/%61pi/%C3%A9", ("api", "/api", "/\xc3\xa9")),
    ]:
        assert seen(server, target) == expected
    assert json.loads(server.get("/api/a%20b?c=d").body)["url"].endswith("/api/a%20b?c=d")


def test_prefixes_shift_as_wsgiref_shifts_them(stage: Stage) -> None:
    write(stage, "api")
    server = stage.serve(None, mount=["/api=api:app"])
    for path in ("/api", "/api/", "/api/a", "/api/a/b/"):
        environ = {"SCRIPT_NAME": "", "PATH_INFO": path}
        shift_path_info(environ)
        _, script_name, path_info = seen(server, path)
        assert (script_name, path_info) == (environ["SCRIPT_NAME"], environ["PATH_INFO"])


def test_no_app_for_a_path(stage: Stage) -> None:
    write(stage, "api")
    server = stage.serve(None, config="mount: {/api: api:app}\n")
    assert seen(server, "/api/x") == ("api", "/api", "/x")
    with server.connect() as wire:
        for target in ("/", "/apis"):
            response = wire.get(target).read_response()
            assert (response.status, response.body) == (404, b"Not Found\n")


def test_static_files_go_before_mounts(stage: Stage) -> None:
    write(stage, "api")
    (stage.directory / "a.txt").write_text("a file")
    server = stage.serve(None, mount=["/api=api:app"], static=["/api/static=."])
    assert server.get("/api/static/a.txt").body == b"a file"
    assert seen(server, "/api/statics") == ("api", "/api", "/statics")


@pytest.mark.parametrize("preload", [False, True])
def test_an_app_that_fails_is_named(stage: Stage, preload: bool) -> None:
    write(stage, "site_")
    (stage.directory / "broken.py").write_text("raise ValueError('at import')\n")
    flags = ["--preload"] if preload else []
    for mount, code, text in [
        ("/api=broken:app", 3, "mount /api: importing broken failed: ValueError: at import"),
        ("/api=nowhere:app", 4, "mount /api: cannot find the module nowhere"),
        ("/api=site_:nothing", 4, "mount /api: cannot find nothing in site_"),
    ]:
        for arguments in (["--check-config"], ["--bind=127.0.0.1:0", *flags]):
            done = run_once(stage, *arguments, f"--mount={mount}", "site_:app")
            assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_two_apps_for_all_paths(stage: Stage) -> None:
    done = run_once(stage, "--check-config", "--mount=/=a:app", "b:app")
    assert done.returncode == 2
    assert "mounted at /" in done.stderr
    write(stage, "a")
    assert seen(stage.serve(None, mount=["/=a:app"]), "/x") == ("a", "", "/x")


def test_a_reload_mounts_anew(stage: Stage) -> None:
    write(stage, "site_", "api", "shop")
    config = "app: site_:app\nmount: {/api: api:app}\n"
    server = stage.serve(None, config=config)
    assert seen(server, "/shop/x")[0] == "site_"
    (stage.directory / "ironhorn.yaml").write_text(config.replace("/api: api", "/shop: shop"))
    before = set(server.workers())
    mark = server.log.mark()
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b", 60, since=mark)
    wait_until(lambda: not before & set(server.workers()), 30, "the old workers are gone")
    assert seen(server, "/shop/x") == ("shop", "/shop", "/x")
    assert seen(server, "/api") == ("site_", "", "/api")


def test_below_the_path_of_a_trusted_proxy(stage: Stage) -> None:
    """SCRIPT_NAME is the proxy's and then the mount's."""
    write(stage, "site_", "api")
    trusted = ["SCRIPT_NAME", "X-Forwarded-Prefix"]
    server = stage.serve("site_:app", mount=["/api=api:app"], forwarder_headers=trusted)
    for target, field, expected in [
        ("/shop/x", "SCRIPT_NAME: /shop", ("site_", "/shop", "/x")),
        ("/shop/api", "SCRIPT_NAME: /shop", ("api", "/shop/api", "")),
        ("/shop/api/users?a=b", "SCRIPT_NAME: /shop", ("api", "/shop/api", "/users")),
        ("/shop/apis", "SCRIPT_NAME: /shop", ("site_", "/shop", "/apis")),
        ("/api/api/x", "SCRIPT_NAME: /api", ("api", "/api/api", "/x")),
        ("/api/x", "SCRIPT_NAME: /api", ("site_", "/api", "/x")),
        ("/api/x", "X-Forwarded-Prefix: /shop", ("api", "/shop/api", "/x")),
        ("/x", "X-Forwarded-Prefix: /api", ("site_", "/api", "/x")),
    ]:
        found = json.loads(server.get(target, field).body)
        assert (found["app"], found["SCRIPT_NAME"], found["PATH_INFO"]) == expected, field
        path = "".join(expected[1:])
        assert found["url"].partition("?")[0].endswith(path), found


@pytest.mark.proxy
def test_behind_uwsgi_pass(stage: Stage, front: Callable[..., Nginx]) -> None:
    """The mount is found by the PATH_INFO that nginx says, whatever the client has asked for."""
    write(stage, "site_", "api")
    server = stage.serve("site_:app", mount=["/api=api:app"], protocol="uwsgi")
    rewriting = front(server.address, uwsgi=["rewrite ^/old/(.*)$ /api/$1 break;"])
    below = front(server.address, uwsgi=["uwsgi_param SCRIPT_NAME /shop;"])
    for nginx, target, expected in [
        (rewriting, "/", ("site_", "", "/")),
        (rewriting, "/apis", ("site_", "", "/apis")),
        (rewriting, "/api", ("api", "/api", "")),
        (rewriting, "/api/a%20b?c=d", ("api", "/api", "/a b")),
        (rewriting, "/x/../%61pi/y", ("api", "/api", "/y")),
        (rewriting, "/old/x", ("api", "/api", "/x")),
        (below, "/shop/x", ("site_", "/shop", "/x")),
        (below, "/shop/api", ("api", "/shop/api", "")),
        (below, "/shop/api/users", ("api", "/shop/api", "/users")),
    ]:
        page = Browser(nginx.address).get(target)
        assert page.status == 200, page
        found = json.loads(page.body)
        assert found["REQUEST_URI"] == target
        assert (found["app"], found["SCRIPT_NAME"], found["PATH_INFO"]) == expected, target
