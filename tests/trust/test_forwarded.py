"""What is believed of a request that comes by a proxy, and of whom."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial

import pytest
from harness import Server, Stage, Wire, request, run_once, wait_until
from harness.wire import Response

pytestmark = pytest.mark.ironhorn("the settings are ours")

STRANGER = "127.0.0.2"
HTTPS = "X-Forwarded-Proto: https"


def ask(
    server: Server, *fields: str, target: str = "/environ", source: str | None = None
) -> Response:
    """One request, from another address of this machine if one is given."""
    assert server.address is not None
    with Wire(server.address, source=source) as wire:
        return wire.send(request("GET", target, "Connection: close", *fields)).read_response()


def environ(server: Server, *fields: str, source: str | None = None) -> dict[str, object]:
    response = ask(server, *fields, source=source)
    assert response.status == 200, response.body
    return json.loads(response.body)


@pytest.mark.parametrize("bind", ["tcp", "v6", "unix"])
def test_a_local_proxy_says_that_it_is_https(stage: Stage, bind: str) -> None:
    server = stage.serve(bind=bind)
    assert environ(server)["wsgi.url_scheme"] == "http"
    for field in (
        HTTPS,
        "x-forwarded-proto: HTTPS",
        "X-Forwarded-Ssl: on",
        "Forwarded: proto=https",
    ):
        seen = environ(server, field)
        assert seen["wsgi.url_scheme"] == "https", field
        assert "ironhorn.peer_addr" not in seen
    # It goes for the request, not for the connection.
    with server.connect() as wire:
        schemes = [
            json.loads(wire.get("/environ", *fields).read_response().body)["wsgi.url_scheme"]
            for fields in ((HTTPS,), (), (HTTPS,))
        ]
    assert schemes == ["https", "http", "https"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((HTTPS, "X-Forwarded-Ssl: off"), "don't agree on whether the request is https"),
        (("X-Forwarded-Proto: https, http",), "don't agree on whether the request is https"),
        ((HTTPS, "Forwarded: proto=http"), "don't agree on whether the request is https"),
        (("X-Forwarded-Proto: gopher",), "neither http nor https"),
        (('Forwarded: for="[::1',), "malformed Forwarded"),
    ],
)
def test_contradictions_are_refused(stage: Stage, fields: tuple[str, ...], reason: str) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(access_logfile=log, access_logformat="%(h)s %(s)s", log_level="debug")
    response = ask(server, *fields)
    assert response.status == 400
    assert response.closes
    assert reason in response.body.decode()
    server.log.wait_for_line(f"DEBUG .*request refused.*{reason}")
    wait_until(lambda: log.read_text() == "127.0.0.1 400\n", what="the access line")
    # To a stranger's contradictions nobody listens.
    assert ask(server, *fields, source=STRANGER).status == 200


def test_a_stranger_is_not_believed_but_heard_unless_proxies_are_named(stage: Stage) -> None:
    server = stage.serve(log_level="debug")
    for _ in range(2):
        seen = environ(server, HTTPS, "X-Forwarded-For: 192.0.2.7", source=STRANGER)
        assert seen["wsgi.url_scheme"] == "http"
        assert seen["REMOTE_ADDR"] == STRANGER
        # An app that knows its proxy may read it.
        assert (seen["HTTP_X_FORWARDED_PROTO"], seen["HTTP_X_FORWARDED_FOR"]) == (
            "https",
            "192.0.2.7",
        )
    server.log.wait_for_line("DEBUG .*field not heeded.*X-Forwarded-Proto")
    assert len(server.log.matching(f"INFO .*not heeded from this peer.*peer={STRANGER}:")) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"forwarded_allow_ips": "127.0.0.1,::1,10.0.0.0/8"},
        {"forwarded_for": "on"},
        {"forwarded_host": "on"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_once_proxies_are_named_others_are_not_heard(
    stage: Stage, settings: dict[str, str]
) -> None:
    server = stage.serve(header_map="allow", **settings)
    fields = (
        HTTPS,
        "X-Forwarded-For: 192.0.2.7",
        "X_Forwarded_Host: evil.example",
        "X-Forwarded-Server: x",
        "Forwarded: for=192.0.2.7",
        "X-Real-IP: 192.0.2.7",
        "X-Own: kept",
    )
    seen = environ(server, *fields, source=STRANGER)
    kept = {key for key in seen if key.startswith("HTTP_")}
    assert kept == {"HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_OWN"}
    assert seen["wsgi.url_scheme"] == "http"
    assert environ(server, *fields)["HTTP_X_REAL_IP"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("patterns", "bind", "source", "trusted"),
    [
        ("127.0.0.2", "tcp", STRANGER, True),
        ("127.0.0.2", "tcp", None, False),
        ("127.0.0.0/30", "tcp", STRANGER, True),
        ("127.0.0.0/31", "tcp", STRANGER, False),
        ("*", "tcp", STRANGER, True),
        ("10.0.0.1", "unix", None, True),
        ("unix", "unix", None, True),
        ("unix", "tcp", None, False),
        ("", "unix", None, False),
        ("", "tcp", None, False),
        ("::/64", "v6", None, True),
        ("::2", "v6", None, False),
    ],
)
def test_who_is_trusted(
    stage: Stage, patterns: str, bind: str, source: str | None, trusted: bool
) -> None:
    server = stage.serve(bind=bind, env={"FORWARDED_ALLOW_IPS": patterns})
    seen = environ(server, HTTPS, source=source)
    assert seen["wsgi.url_scheme"] == ("https" if trusted else "http")
    assert ("HTTP_X_FORWARDED_PROTO" in seen) is trusted


def test_a_reload_changes_whom_to_trust(stage: Stage) -> None:
    server = stage.serve(config="forwarded_allow_ips: [10.0.0.1]\n")
    assert environ(server, HTTPS)["wsgi.url_scheme"] == "http"
    (stage.directory / "ironhorn.yaml").write_text("forwarded_allow_ips: [127.0.0.1]\n")
    server.send(signal.SIGHUP)
    server.log.wait_for_line(r"\breloaded\b")
    assert environ(server, HTTPS)["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize(
    ("setting", "fields", "client", "port"),
    [
        ("on", ("X-Forwarded-For: 203.0.113.9",), "203.0.113.9", None),
        ("on", ("X-Forwarded-For: 192.0.2.7, 203.0.113.9, 127.0.0.1",), "203.0.113.9", None),
        ("on", ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: ::1"), "203.0.113.9", None),
        (
            "on",
            ("X-Forwarded-For: junk, 203.0.113.9:4711, ::ffff:127.0.0.1",),
            "203.0.113.9",
            "4711",
        ),
        ("on", ("X-Forwarded-For: ::ffff:203.0.113.9",), "203.0.113.9", None),
        ("on", ('Forwarded: for="[2001:db8::9]:4711";proto=https',), "2001:db8::9", "4711"),
        ("on", ("Forwarded: for=_hidden",), "", None),
        ("1", ("X-Forwarded-For: 192.0.2.7, 203.0.113.9, 127.0.0.1",), "127.0.0.1", None),
        ("2", ("X-Forwarded-For: 192.0.2.7, 203.0.113.9, 127.0.0.1",), "203.0.113.9", None),
        ("9", ("X-Forwarded-For: 203.0.113.9, 127.0.0.1",), "203.0.113.9", None),
    ],
)
def test_the_client(
    stage: Stage, setting: str, fields: tuple[str, ...], client: str, port: str | None
) -> None:
    log = stage.directory / "access.log"
    server = stage.serve(forwarded_for=setting, access_logfile=log, access_logformat="%(h)s")
    seen = environ(server, *fields)
    assert (seen["REMOTE_ADDR"], seen.get("REMOTE_PORT")) == (client, port)
    assert seen["ironhorn.peer_addr"] == "127.0.0.1"
    wait_until(lambda: log.read_text() == f"{client or '-'}\n", what="the access line")


def test_without_the_field_it_is_the_peer(stage: Stage) -> None:
    server = stage.serve(forwarded_for=True)
    seen = environ(server)
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert "REMOTE_PORT" in seen


def test_one_that_cannot_be_told_is_refused(stage: Stage) -> None:
    server = stage.serve(forwarded_for="on")
    assert ask(server, "X-Forwarded-For: 203.0.113.9, nobody").status == 400
    lines = ("X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.8")
    assert b"don't agree on the client" in ask(server, *lines).body


def test_host_and_port(stage: Stage) -> None:
    server = stage.serve(forwarded_host="on")
    seen = environ(server, HTTPS, "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 8443")
    assert (seen["HTTP_HOST"], seen["SERVER_NAME"], seen["SERVER_PORT"]) == (
        "shop.example:8443",
        "shop.example",
        "8443",
    )
    assert environ(server, HTTPS, "X-Forwarded-Port: 443")["HTTP_HOST"] == "test.example"
    assert ask(server, "X-Forwarded-Host: a", "Forwarded: host=b").status == 400
    assert ask(server, "X-Forwarded-Host: a/../b").status == 400
    seen = environ(stage.serve(), "X-Forwarded-Host: shop.example")
    assert (seen["HTTP_HOST"], seen["HTTP_X_FORWARDED_HOST"]) == ("test.example", "shop.example")


def test_script_name(stage: Stage) -> None:
    server = stage.serve(forwarder_headers=["SCRIPT_NAME", "X-Forwarded-Prefix"])
    ask_at = partial(ask, server, target="/shop/environ")
    seen = json.loads(ask_at("SCRIPT_NAME: /shop").body)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/environ")
    assert "HTTP_SCRIPT_NAME" not in seen
    for wrong in ("/sho", "/other", "shop"):
        response = ask_at(f"SCRIPT_NAME: {wrong}")
        assert response.status == 400, wrong
        assert b"SCRIPT_NAME" in response.body, wrong
    seen = environ(server, "X-Forwarded-Prefix: /shop")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/environ")
    for fields in (("SCRIPT_NAME: /environ",), ("X-Forwarded-Prefix: /shop",)):
        seen = environ(server, *fields, source=STRANGER)
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/environ")
        assert "HTTP_X_FORWARDED_PREFIX" not in seen
    assert environ(stage.serve(), "SCRIPT_NAME: /environ")["SCRIPT_NAME"] == ""


def test_fields_for_proxies_only(stage: Stage) -> None:
    server = stage.serve(forwarder_headers="REMOTE_USER,X-Team")
    fields = ("REMOTE_USER: alice", "Remote-User: mallory", "X-Team: a", "Other_One: x")
    seen = environ(server, *fields)
    assert (seen["HTTP_REMOTE_USER"], seen["HTTP_X_TEAM"]) == ("alice", "a")
    assert "HTTP_OTHER_ONE" not in seen
    seen = environ(server, *fields, source=STRANGER)
    assert not {"HTTP_REMOTE_USER", "HTTP_X_TEAM", "HTTP_OTHER_ONE"} & set(seen)


@pytest.mark.parametrize(
    ("setting", "status", "seen"),
    [("drop", 200, "b"), ("refuse", 400, None), ("allow", 200, "a,b")],
)
def test_names_with_an_underscore(
    stage: Stage, setting: str, status: int, seen: str | None
) -> None:
    log = stage.directory / "access.log"
    formatted = "%(s)s %({X-Own}i)s %({X_Own}i)s %({HTTP_X_OWN}e)s"
    server = stage.serve(header_map=setting, access_logfile=log, access_logformat=formatted)
    response = ask(server, "X_Own: a", "X-Own: b")
    assert response.status == status
    if seen:
        assert json.loads(response.body)["HTTP_X_OWN"] == seen
    expected = f"{status} b a {seen or '-'}\n"
    wait_until(lambda: log.read_text() == expected, what=f"{expected} in {log.read_text()}")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--forwarded-allow-ips=10.0.0.0/33", 'found "10.0.0.0/33", expected an address such as'),
        ("--forwarded-allow-ips=10.0.0.1/8", "with no bits set beyond its prefix"),
        ("--forwarded-allow-ips=::1,proxy.example", 'found "proxy.example"'),
        ("--forwarded-for=0", 'found "0", expected off, on or the number of proxies, from 1 to 32'),
        ("--forwarded-host=maybe", 'found "maybe", expected off, on'),
        ("--forwarder-headers=A:", 'found "A:", expected the name of a header field'),
        ("--proxy-protocol=v3", 'found "v3", expected off, v1, v2 or auto'),
        ("--proxy-allow-from=", ""),
    ],
)
def test_wrong_settings(stage: Stage, option: str, said: str) -> None:
    done = run_once(stage, "--check-config", "--bind=127.0.0.1:0", option, "toolbox:app")
    assert done.returncode == (2 if said else 0), done.stderr
    assert said in done.stderr


def test_settings_can_be_printed_and_read_again(
    stage: Stage, run_printed: Callable[..., dict[str, object]]
) -> None:
    settings = run_printed(
        "--forwarded-allow-ips=10.0.0.0/8,unix", "--forwarded-for", "2", "--proxy-protocol"
    )
    assert settings["forwarded_allow_ips"] == ["10.0.0.0/8", "unix"]
    assert (settings["forwarded_for"], settings["proxy_protocol"]) == ("2", "auto")
    assert settings["proxy_allow_from"] == ["127.0.0.1", "::1"]
