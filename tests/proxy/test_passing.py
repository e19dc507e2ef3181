"""What goes through nginx: fields, bodies, a Django site with its static files."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable

import pytest
from frameworks.browser import Browser
from frameworks.example import Example, Site
from frameworks.test_django import log_in, write_note
from harness import Stage
from proxy.nginx import Nginx

pytestmark = pytest.mark.proxy

BINDS = pytest.mark.parametrize("bind", ["tcp", "unix"])


@BINDS
def test_the_app_sees_the_client_in_the_forwarded_fields(
    stage: Stage, front: Callable[..., Nginx], bind: str
) -> None:
    nginx = front(stage.serve(bind=bind).address)
    page = Browser(nginx.address, Host="shop.example:8443", X_Forwarded_For="192.0.2.7").get(
        "/environ"
    )
    environ = json.loads(page.body)
    assert environ["HTTP_HOST"] == "shop.example:8443"
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.7, 127.0.0.1"
    assert environ["HTTP_X_FORWARDED_PROTO"] == "http"


def test_a_redirect_is_not_rewritten(stage: Stage, front: Callable[..., Nginx]) -> None:
    server = stage.serve()
    there = f"http://{server.address[0]}:{server.address[1]}/elsewhere"
    page = Browser(front(server.address).address).get(f"/fields?Location={there}")
    assert page.headers["Location"] == there


@BINDS
@pytest.mark.parametrize("keep_alive", [False, True], ids=["close", "keep-alive"])
def test_upload_of_20_megabytes(
    stage: Stage, front: Callable[..., Nginx], bind: str, keep_alive: bool
) -> None:
    server = Example(stage).serve("upload", bind=bind)
    browser = Browser(front(server.address, keep_alive=keep_alive).address)
    body = random.Random(20).randbytes(20 * 1024 * 1024)
    answer = json.loads(browser.post("/", body).body)
    assert answer == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@BINDS
def test_django_site(stage: Stage, front: Callable[..., Nginx], site: Site, bind: str) -> None:
    server = Example(stage).serve("django_site", site.env(), bind=bind, workers=2)
    browser = Browser(front(server.address, keep_alive=True, static=site.static).address)

    login = browser.get("/admin/")
    assert 'href="/static/admin/css/base.css"' in login.text
    style = browser.get("/static/admin/css/base.css")
    assert style.body == (site.static / "admin/css/base.css").read_bytes()
    assert (style.headers["Content-Type"], style.headers["Cache-Control"]) == (
        "text/css",
        "max-age=86400",
    )

    assert log_in(browser).url == "/admin/"
    assert "through nginx" in write_note(browser, "through nginx").text
    assert "<li>through nginx</li>" in browser.get("/").text
