"""Which path counts where nginx speaks uwsgi: the one that nginx asks for, which it may have
rewritten, and not what its client has written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from frameworks.browser import Browser
from harness import Server, Stage, Wire
from harness.packet import packed, packet
from proxy.nginx import Nginx

pytestmark = [
    pytest.mark.proxy,
    pytest.mark.ironhorn("Gunicorn has neither static files nor mounts"),
]

NAMING = """
import json

def app(environ, start_response):
    names = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")
    body = json.dumps({"app": __name__, **{name: environ[name] for name in names}}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

Front = Callable[..., Nginx]


@pytest.fixture
def assets(stage: Stage) -> Path:
    """Files for all, and one that nginx is to keep to itself."""
    directory = stage.directory / "assets"
    (directory / "private").mkdir(parents=True)
    (directory / "sub").mkdir()
    for name in ("a.css", "a b.css", "a%20b.css", "private/s.txt", "sub/index.html"):
        (directory / name).write_text(f"the file {name}")
    return directory


def serve(stage: Stage, **settings: object) -> Server:
    return stage.serve("paths:app", protocol="uwsgi", **settings)


def redirected(nginx: Nginx, target: str) -> str | None:
    """Where a target is redirected to."""
    with Wire(nginx.address) as wire:
        response = wire.get(target).read_response()
    assert response.status == 301, response
    return response.get("Location")


def sites(front: Front, server: Server, *locations: str) -> Nginx:
    """nginx with these locations beside `location /`, which passes everything on."""
    # That of the example is still open, and it closes the last one.
    lines = ["} " + location.removesuffix("}") for location in locations]
    changes = {r"^ {8}location /static/ \{$": "        location /of-nginx/ {"}
    tolerated = "access forbidden by rule"
    return front(server.address, uwsgi=lines, changes=changes, tolerates=tolerated)


def passing(at: str, *lines: str) -> str:
    """A location that passes on."""
    inside = " ".join(["include /etc/nginx/uwsgi_params; uwsgi_pass app;", *lines])
    return f"location {at} {{ {inside} }}"


def test_a_file_that_nginx_denies_is_not_sent(stage: Stage, front: Front, assets: Path) -> None:
    server = serve(stage, static=[f"/static={assets}"])
    nginx = sites(front, server, "location /static/private/ { deny all; error_page 403 /sorry; }")
    browser = Browser(nginx.address)
    assert browser.get("/static/a.css").text == "the file a.css"
    page = browser.get("/static/private/s.txt")
    assert (page.status, json.loads(page.body)["PATH_INFO"]) == (403, "/sorry")


def test_files_are_found_by_what_nginx_rewrites_to(
    stage: Stage, front: Front, assets: Path
) -> None:
    server = serve(stage, static=[f"/static={assets}"])
    nginx = sites(
        front,
        server,
        passing("/assets/", "rewrite ^/assets/(.*)$ /static/$1 break;"),
        passing("/static/old/", "rewrite ^ /gone break;"),
    )
    browser = Browser(nginx.address)
    assert browser.get("/assets/a.css").text == "the file a.css"
    assert browser.get("/assets/a%20b.css").text == "the file a b.css"
    # nginx has decoded it, and that is all.
    assert browser.get("/assets/a%2520b.css").text == "the file a%20b.css"
    assert browser.get("/assets/none.css").status == 404
    assert browser.get("/assets/%2e%2e/static/a.css").text == "the file a.css"
    assert json.loads(browser.get("/static/old/a.css").body)["PATH_INFO"] == "/gone"


def test_a_directory_is_redirected_to_itself(stage: Stage, front: Front, assets: Path) -> None:
    server = serve(stage, static=[f"/static={assets}"])
    nginx = sites(front, server)
    browser = Browser(nginx.address)
    # A browser takes what begins with two slashes, or with a slash and a backslash, for a host's.
    for uri in (
        "/static/sub",
        "//evil.example/..%2fstatic/sub",
        "/%5cevil.example/../static/sub",
    ):
        assert redirected(nginx, f"{uri}?a=b") == "/static/sub/?a=b", uri
    assert browser.get("/static/sub").text == "the file sub/index.html"


def test_script_name_and_files(stage: Stage, front: Front, assets: Path) -> None:
    """As over HTTP and in uWSGI: what counts is the path that nginx asks for, all of it."""
    server = serve(stage, static=[f"/static={assets}", f"/app/files={assets}"])
    nginx = sites(
        front,
        server,
        passing("/app", "uwsgi_param SCRIPT_NAME /app;"),
        passing("~ ^/cut(/.*)$", "uwsgi_param SCRIPT_NAME /cut;", "uwsgi_param PATH_INFO $1;"),
    )
    browser = Browser(nginx.address)
    assert browser.get("/app/files/a.css").text == "the file a.css"
    # nginx may deny /static/; the app that it has at /app has paths of its own.
    assert json.loads(browser.get("/app/static/a.css").body)["PATH_INFO"] == "/static/a.css"
    assert browser.get("/cut/static/a.css").text == "the file a.css"
    assert redirected(nginx, "/cut/static/sub") == "/cut/static/sub/"


def test_health_path(stage: Stage, front: Front) -> None:
    server = serve(stage, health_path="/a/health%20check")
    nginx = sites(
        front,
        server,
        "location /a/ { deny all; error_page 403 /sorry; }",
        passing("/ready", 'uwsgi_param PATH_INFO "/a/health check";'),
    )
    browser = Browser(nginx.address)
    assert json.loads(browser.get("/a/health%20check").body)["PATH_INFO"] == "/sorry"
    assert browser.get("/ready").text == "ready\n"


@pytest.mark.parametrize(
    ("uri", "path_info", "is_file"),
    [
        ("/static/a.css", "/zzz", False),
        ("/zzz", "/static/a.css", True),
        ("/static/a.css", "", False),
        ("/zzz", "/static/../static/a.css", None),
        ("/zzz", "/static//a.css", None),
        ("/zzz", "/static/%61.css", None),
        ("/zzz", "static/a.css", False),
    ],
)
def test_path_info_of_a_packet(
    stage: Stage, assets: Path, uri: str, path_info: str, is_file: bool | None
) -> None:
    server = serve(stage, static=[f"/static={assets}"])
    with server.connect() as wire:
        wire.send(packet("GET", uri, ("PATH_INFO", path_info)))
        response = wire.read_response()
    if is_file is None:
        assert response.status == 404
    elif is_file:
        assert response.body == b"the file a.css"
    else:
        assert json.loads(response.body)["PATH_INFO"] == path_info


def test_a_packet_without_path_info(stage: Stage, assets: Path) -> None:
    """What the client has asked for is all there is, with the rules of HTTP."""
    server = serve(stage, static=[f"/static={assets}"])
    for uri, body in [
        ("/static/a%20b.css?x", b"the file a b.css"),
        ("/static/sub%2findex.html", b"Not Found\n"),
    ]:
        with server.connect() as wire:
            wire.send(packed([("REQUEST_METHOD", "GET"), ("REQUEST_URI", uri)]))
            assert wire.read_response().body == body


def test_a_body_for_a_file(stage: Stage, front: Front, assets: Path) -> None:
    nginx = sites(front, serve(stage, static=[f"/static={assets}"]))
    browser = Browser(nginx.address)
    assert browser.post("/static/a.css", b"x" * 3_000_000).status == 405


MOUNTS = ["/api=api:app", "/api/v2=v2:app", "/shop/api=shop_api:app"]


@pytest.mark.parametrize("modifier", ["", "uwsgi_modifier1 30;"])
def test_an_app_is_chosen_by_script_name(stage: Stage, front: Front, modifier: str) -> None:
    for name in ("root", "api", "v2", "shop_api"):
        (stage.directory / f"{name}.py").write_text(NAMING)
    server = stage.serve("root:app", protocol="uwsgi", mount=MOUNTS)
    below = [
        passing(at, f"uwsgi_param SCRIPT_NAME {name};", modifier)
        for at, name in [
            ("/api", "/api"),
            ("/api/v2", "/api/v2/"),
            ("/shop", "/shop"),
            ("/deep", "/api/deep"),
            ("/apix", "/apix"),
        ]
    ]
    rewriting = passing(
        "/old", "uwsgi_param SCRIPT_NAME /api;", "rewrite ^/old(/.*)$ /api$1 break;"
    )
    nginx = sites(front, server, *below, rewriting)
    browser = Browser(nginx.address)
    for target, expected in [
        ("/x", ("root", "", "/x")),
        ("/api", ("api", "/api", "")),
        ("/api/", ("api", "/api", "/")),
        ("/api/a%20b", ("api", "/api", "/a b")),
        ("/api/api/x", ("api", "/api", "/api/x")),
        ("/api/v2", ("v2", "/api/v2", "")),
        ("/api/v2/x", ("v2", "/api/v2", "/x")),
        # The longest prefix, and what stands before it.
        ("/shop/api/x", ("shop_api", "/shop/api", "/x")),
        ("/shop/x", ("root", "/shop", "/x")),
        ("/apix/x", ("root", "/apix", "/x")),
        ("/old/x", ("api", "/api", "/x")),
    ]:
        found = json.loads(browser.get(target).body)
        assert (found["app"], found["SCRIPT_NAME"], found["PATH_INFO"]) == expected, target
        assert found["REQUEST_URI"] == target


def test_script_name_that_nginx_has_taken_off(stage: Stage, front: Front) -> None:
    for name in ("root", "api", "v2", "shop_api"):
        (stage.directory / f"{name}.py").write_text(NAMING)
    server = stage.serve("root:app", protocol="uwsgi", mount=MOUNTS)
    cut = passing("~ ^/api(/.*)$", "uwsgi_param SCRIPT_NAME /api;", "uwsgi_param PATH_INFO $1;")
    nginx = sites(front, server, cut)
    browser = Browser(nginx.address)
    for target, expected in [
        ("/api/x", ("api", "/api", "/x")),
        ("/api/api/x", ("api", "/api", "/api/x")),
        ("/api/v2/x", ("v2", "/api/v2", "/x")),
    ]:
        found = json.loads(browser.get(target).body)
        assert (found["app"], found["SCRIPT_NAME"], found["PATH_INFO"]) == expected, target
