"""The environ dictionary (PEP 3333 "environ Variables" and "URL Reconstruction")."""

from __future__ import annotations

import json

import pytest
from harness import Server, Stage, request


@pytest.fixture(scope="module")
def server(shared_stage: Stage) -> Server:
    return shared_stage.serve()


def seen(
    server: Server,
    target: str = "/environ",
    *fields: str,
    method: str = "GET",
    version: str = "HTTP/1.1",
) -> dict:
    with server.connect() as wire:
        return json.loads(
            wire.send(request(method, target, *fields, version=version)).read_response().body
        )


def test_the_request(server: Server) -> None:
    environ = seen(server, "/environ?q=1&r=%20", method="DELETE")
    assert environ["REQUEST_METHOD"] == "DELETE"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "q=1&r=%20"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen(server, version="HTTP/1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_the_server_and_the_peer(server: Server) -> None:
    environ = seen(server)
    host, port = server.address
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (host, str(port))
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["REMOTE_PORT"].isdigit()
    assert environ["SERVER_SOFTWARE"].startswith(server.flavour.name)


@pytest.mark.differs("has no REQUEST_URI")
def test_the_target_as_received(server: Server) -> None:
    environ = seen(server, "/%65nviron?a=%62")
    assert environ["PATH_INFO"] == "/environ"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/%65nviron?a=%62"


def test_no_query(server: Server) -> None:
    assert seen(server)["QUERY_STRING"] == ""


def test_wsgi_keys(server: Server) -> None:
    environ = seen(server)
    assert environ["wsgi.version"] == "(1, 0)"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    for key in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"):
        assert key in environ


@pytest.mark.ironhorn("runs with threads here")
@pytest.mark.parametrize(("workers", "multiprocess"), [(1, False), (2, True)])
def test_what_else_runs_the_app(stage: Stage, workers: int, multiprocess: bool) -> None:
    environ = seen(stage.serve(workers=workers))
    assert environ["wsgi.multithread"] is False
    assert environ["wsgi.multiprocess"] is multiprocess


def test_fields(server: Server) -> None:
    environ = seen(
        server, "/environ", "X-Some-Field: value", "x-lower: 1", "X-Spaces:   a b\t ", "X-Empty:"
    )
    assert environ["HTTP_HOST"] == "test.example"
    assert environ["HTTP_X_SOME_FIELD"] == "value"
    assert environ["HTTP_X_LOWER"] == "1"
    assert environ["HTTP_X_SPACES"] == "a b"
    assert environ["HTTP_X_EMPTY"] == ""


def test_content_type_and_length_have_their_own_keys(server: Server) -> None:
    environ = seen(server, "/environ", "Content-Type: text/x", "Content-Length: 0", method="POST")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "0")
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_repeated_fields_are_joined(server: Server) -> None:
    assert seen(server, "/environ", "X-A: 1", "X-B: 2", "x-a: 3")["HTTP_X_A"] == "1,3"


@pytest.mark.differs("joins Cookie with a comma")
def test_repeated_cookies_are_joined_by_semicolon(server: Server) -> None:
    """RFC 9113 8.2.3, RFC 6265 5.4."""
    assert seen(server, "/environ", "Cookie: a=1", "Cookie: b=2")["HTTP_COOKIE"] == "a=1; b=2"


def test_bytes_are_latin_1_strings(server: Server) -> None:
    environ = seen(server, "/environ?%C3%A9", "X-A: caf\xe9")
    assert environ["HTTP_X_A"] == "caf\xe9"
    assert environ["QUERY_STRING"] == "%C3%A9"


def test_the_path_is_decoded_to_latin_1(stage: Stage) -> None:
    """PEP 3333 "Unicode Issues": the bytes of the path, one character each; an encoded slash
    becomes one.
    """
    (stage.directory / "path.py").write_text(
        "def app(environ, start_response):\n"
        "    body = ascii(environ['PATH_INFO']).encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    server = stage.serve("path:app")
    cases = {
        "/caf%C3%A9": "/caf\xc3\xa9",
        "/a%2Fb": "/a/b",
        "/100%": "/100%",
        "/%zz%4": "/%zz%4",
        "/%00": "/\0",
    }
    for sent, path in cases.items():
        assert server.get(sent).body.decode() == ascii(path), sent


def test_underscored_names_cannot_pose_as_others(server: Server) -> None:
    environ = seen(server, "/environ", "X-User: real", "X_User: fake", "X_Only: fake")
    assert environ["HTTP_X_USER"] == "real"
    assert "HTTP_X_ONLY" not in environ


@pytest.mark.differs("passes Proxy on")
def test_proxy_is_dropped(server: Server) -> None:
    """httpoxy: HTTP_PROXY is what libraries take for the environment variable."""
    assert "HTTP_PROXY" not in seen(server, "/environ", "Proxy: http://evil.example")


def test_the_environment_is_not_in_the_environ(server: Server) -> None:
    environ = seen(server)
    assert "HOME" not in environ
    assert "TEST_DIR" not in environ


def test_over_a_unix_socket(stage: Stage) -> None:
    server = stage.serve(bind="unix")
    server.wait_answer()
    environ = seen(server)
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"]
    assert environ["REMOTE_ADDR"] == ""


def test_over_v6(stage: Stage) -> None:
    server = stage.serve(bind="v6")
    environ = seen(server)
    assert environ["REMOTE_ADDR"] == "::1"
    assert environ["SERVER_PORT"] == str(server.address[1])
