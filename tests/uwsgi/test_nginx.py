"""What goes through a real nginx by uwsgi_pass."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable

import pytest
from frameworks.browser import Browser
from frameworks.example import Example, Pace, Site
from frameworks.test_django import log_in, write_note
from harness import Load, Stage, Wire, request, wait_until
from harness.wire import chunked
from proxy.nginx import Nginx
from proxy.test_reload import reload_to, write_version
from uwsgi.conftest import Passing

pytestmark = [
    pytest.mark.proxy,
    pytest.mark.ironhorn("Gunicorn decodes PATH_INFO twice and ignores what nginx says"),
]


ORDERS = ("FILE", "SCRIPT", "MODULE", "CALLABLE", "PYHOME", "CHDIR", "SETENV", "TOUCH_RELOAD")


def environ_of(nginx: Nginx, target: str = "/environ", *fields: str) -> dict[str, object]:
    with Wire(nginx.address) as wire:
        response = wire.get(target, "Connection: close", *fields).read_response()
    assert response.status == 200
    return json.loads(response.body)


def test_what_the_app_is_told(passing: Passing) -> None:
    environ = environ_of(
        passing.serve(),
        "/environ?a=%20b",
        "Host: shop.example",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-For: 192.0.2.2",
        "Cookie: a=1",
        "Cookie: b=2",
        "Proxy: http://evil",
        "User-Agent: test/1",
    )
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")
    assert environ["REQUEST_URI"] == "/environ?a=%20b"
    assert environ["QUERY_STRING"] == "a=%20b"
    assert environ["SERVER_NAME"] == "example.org"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert int(str(environ["REMOTE_PORT"])) > 0
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["DOCUMENT_ROOT"].endswith("/html")
    assert environ["HTTP_HOST"] == "shop.example"
    assert environ["HTTP_X_FORWARDED_FOR"].replace(" ", "") == "192.0.2.1,192.0.2.2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_USER_AGENT"] == "test/1"
    assert "HTTP_PROXY" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_a_path_is_decoded_once(passing: Passing) -> None:
    nginx = passing.serve("paths:app")
    browser = Browser(nginx.address)
    assert json.loads(browser.get("/a%2520b/%C3%A9/../c?d=%25").body) == {
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a%20b/c",
        "QUERY_STRING": "d=%25",
        "REQUEST_URI": "/a%2520b/%C3%A9/../c?d=%25",
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("uwsgi_param SCRIPT_NAME /app;",),
        ("uwsgi_param SCRIPT_NAME /app;", "uwsgi_modifier1 30;"),
        ("uwsgi_param SCRIPT_NAME /app/;",),
    ],
)
def test_an_app_below_a_path(
    stage: Stage, front: Callable[..., Nginx], lines: tuple[str, ...]
) -> None:
    server = stage.serve("paths:app", protocol="uwsgi")
    browser = Browser(front(server.address, uwsgi=lines).address)
    for target, path_info in [("/app/a%20b", "/a b"), ("/app", ""), ("/app/app/x", "/app/x")]:
        paths = json.loads(browser.get(target).body)
        assert (paths["SCRIPT_NAME"], paths["PATH_INFO"]) == ("/app", path_info), target


def test_nginx_rewrites(stage: Stage, front: Callable[..., Nginx]) -> None:
    server = stage.serve("paths:app", protocol="uwsgi")
    lines = ("rewrite ^/old/(.*)$ /new/$1?e=f break;",)
    paths = json.loads(Browser(front(server.address, uwsgi=lines).address).get("/old/x?g=h").body)
    assert paths == {
        "SCRIPT_NAME": "",
        "PATH_INFO": "/new/x",
        "QUERY_STRING": "e=f&g=h",
        "REQUEST_URI": "/old/x?g=h",
    }


def test_variables_of_the_site_and_orders_to_the_server(
    stage: Stage, front: Callable[..., Nginx]
) -> None:
    marked = stage.directory / "marked"
    (stage.directory / "evil.py").write_text(f"open({str(marked)!r}, 'w')\n")
    server = stage.serve(protocol="uwsgi")
    nginx = front(
        server.address,
        uwsgi=[
            # After `include uwsgi_params`: what that has said already.
            "uwsgi_param REMOTE_ADDR 198.51.100.9;",
            "uwsgi_param HTTP_HOST $http_host;",
            "uwsgi_param HTTPS on;",
            "uwsgi_param REMOTE_USER ada;",
            "uwsgi_param GEOIP_COUNTRY_CODE DE;",
            "uwsgi_param HTTP_X_FORWARDED_PROTO $scheme;",
            "uwsgi_param wsgi.multithread yes;",
            "uwsgi_param ironhorn.secret yes;",
            *(f"uwsgi_param UWSGI_{name} {stage.directory}/evil.py;" for name in ORDERS),
        ],
    )
    environ = environ_of(nginx, "/environ", "Host: shop.example:8443", "X-Forwarded-Proto: gopher")
    assert environ["REMOTE_ADDR"] == "198.51.100.9"
    assert environ["HTTP_HOST"] == "shop.example:8443"
    assert (environ["HTTPS"], environ["wsgi.url_scheme"]) == ("on", "https")
    assert (environ["REMOTE_USER"], environ["GEOIP_COUNTRY_CODE"]) == ("ada", "DE")
    assert environ["HTTP_X_FORWARDED_PROTO"] == "http"
    assert environ["wsgi.multithread"] is False
    assert not [name for name in environ if name.startswith("UWSGI_")]
    assert "ironhorn.secret" not in environ
    assert not marked.exists()


def test_bodies(passing: Passing) -> None:
    nginx = passing.serve()
    with Wire(nginx.address) as wire:
        # The connection between client and nginx is kept.
        for body in (b"", b"hello", b"x" * 300_000):
            wire.send(request("POST", "/echo", body=body))
            assert wire.read_response().body == body
            head = request("PUT", "/echo", "Transfer-Encoding: chunked")
            wire.send(head + chunked(*([body] if body else []), b"end"))
            assert wire.read_response().body == body + b"end"
        wire.send(request("POST", "/echo", "Expect: 100-continue", body=b"expected"))
        assert wire.read_response().body == b"expected"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload_of_20_megabytes(passing: Passing, coding: str) -> None:
    nginx = passing.serve()
    body = random.Random(20).randbytes(20 * 1024 * 1024)
    with Wire(nginx.address) as wire:
        if coding == "length":
            wire.send(request("POST", "/digest", body=body))
        else:
            head = request("POST", "/digest", "Transfer-Encoding: chunked")
            pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
            wire.send(head + chunked(*pieces))
        digest = hashlib.sha256(body).hexdigest()
        assert wire.read_response().body == f"{len(body)} {digest}".encode()


def test_responses(passing: Passing) -> None:
    nginx = passing.serve()
    with Wire(nginx.address) as wire:
        hello = wire.get("/hello").read_response()
        assert (hello.status, hello.body, hello.framing) == (200, b"hello\n", "length")
        head = wire.send(request("HEAD", "/hello")).read_response("HEAD")
        assert (head.status, head.get("Content-Length")) == (200, "6")
        # Without a length: nginx gives it a coding of its own, once.
        streamed = wire.get("/chunks?100").read_response()
        assert streamed.body == b"".join(b"chunk %d\n" % number for number in range(100))
        assert wire.get("/big?5000000").read_response().body == b"x" * 5_000_000
        for status in (304, 204, 404, 500):
            response = wire.get(f"/status?{status}").read_response()
            assert response.status == status
            assert response.body == (b"" if status in (204, 304) else b"body\n")
        head = wire.send(request("HEAD", "/chunks?3")).read_response("HEAD")
        assert head.status == 200


def test_a_file(passing: Passing) -> None:
    content = random.Random(2).randbytes(3_000_000)
    (passing.stage.directory / "file").write_bytes(content)
    nginx = passing.serve("pep3333:app")
    for name in ("file", "file_block_size"):
        page = Browser(nginx.address).get(f"/{name}")
        assert (page.status, page.body) == (200, content)


def test_what_is_refused_is_told(passing: Passing) -> None:
    nginx = passing.serve(limit_request_body=1000, limit_request_fields=20)
    with Wire(nginx.address) as wire:
        assert wire.send(request("POST", "/echo", body=b"x" * 1001)).read_response().status == 413
    with Wire(nginx.address) as wire:
        fields = [f"X-{number}: a" for number in range(20)]
        assert wire.get("/hello", *fields).read_response().status == 431


def test_upload_example(passing: Passing) -> None:
    body = random.Random(1).randbytes(100_000)
    answer = Browser(passing.example("upload").address).post("/", body)
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(body).hexdigest()


def test_flask_app(passing: Passing) -> None:
    browser = Browser(passing.example("flask_app").address)
    assert json.loads(browser.get("/").body) == {"message": "Hello from Flask on Ironhorn!"}
    numbers = json.dumps({"numbers": [1, 2, 39]}).encode()
    answer = browser.post("/sum", numbers, Content_Type="application/json")
    assert json.loads(answer.body) == {"sum": 42, "count": 3}


def test_bottle_app(passing: Passing) -> None:
    browser = Browser(passing.example("bottle_app").address)
    assert browser.get("/hello/J%C3%BCrgen%20%26%20Co").text == "<p>Hello, Jürgen &amp; Co!</p>\n"


def test_a_stream_arrives_as_it_is_made(passing: Passing) -> None:
    pace = Pace(passing.stage.directory / "pace")
    try:
        nginx = passing.example("streaming", pace.env)
        with Wire(nginx.address) as wire:
            wire.get("/")
            pace.next_chunk()
            assert wire.read_head().get("Transfer-Encoding") == "chunked"
            assert wire.read_chunk() == b"chunk 1 of 10\n"
            for number in range(2, 11):
                pace.next_chunk()
                assert wire.read_chunk() == b"chunk %d of 10\n" % number
            assert wire.read_chunk() == b""
    finally:
        pace.close()


def test_django_site(passing: Passing, site: Site) -> None:
    server = Example(passing.stage).serve(
        "django_site", site.env(), bind=passing.bind, workers=2, protocol="uwsgi"
    )
    browser = Browser(passing.before(server, static=site.static).address)
    assert 'href="/static/admin/css/base.css"' in browser.get("/admin/").text
    assert log_in(browser).url == "/admin/"
    assert "through nginx" in write_note(browser, "through nginx").text
    assert "<li>through nginx</li>" in browser.get("/").text


def test_no_request_fails_while_the_server_is_reloaded(passing: Passing) -> None:
    stage = passing.stage
    write_version(stage.directory, 0)
    server = stage.serve("versioned:app", bind=passing.bind, workers=2, protocol="uwsgi")
    nginx = passing.before(server)
    with Load(nginx.address, keep_alive=8, one_request=8) as load:
        for version in range(1, 6):
            reload_to(server, stage.directory, version)
            answered = load.answered()
            wait_until(lambda enough=answered + 50: load.answered() >= enough, what="more answers")
    load.report.assert_none_failed()
    assert set(load.report.bodies()) == {b"version %d" % version for version in range(6)}


def test_nginx_with_proxy_pass_is_told(stage: Stage, front: Callable[..., Nginx]) -> None:
    page = Browser(front(stage.serve(protocol="uwsgi").address).address).get("/hello")
    assert page.status == 400
    assert "use uwsgi_pass in nginx" in page.text
    page = Browser(front(stage.serve().address, uwsgi=()).address).get("/hello")
    assert page.status == 400
    assert "use proxy_pass in nginx" in page.text


def test_a_stuck_request_gets_504(passing: Passing) -> None:
    stage = passing.stage
    server = stage.serve(bind=passing.bind, protocol="uwsgi", timeout=1, graceful_timeout=1)
    server.allow_log("request timeout", "worker died", "graceful timeout")
    page = Browser(passing.before(server).address).get("/spin")
    assert page.status == 504
