"""The access log: presets, atoms, escaping, and one line for every request, refused ones too."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress

import pytest
from harness import Server, Stage, request, wait_until

pytestmark = pytest.mark.ironhorn("escapes less, logs fewer requests")


def logged(stage: Stage, format_: str, *sent: bytes) -> list[str]:
    """The lines for these requests, each on its own connection."""
    server = stage.serve(access_logfile="-", access_logformat=format_)
    for data in sent:
        with server.connect() as wire:
            wire.send(data).half_close()
            with suppress(ConnectionError):  # what failed half-way is cut
                wire.read_to_end()
    server.allow_log("ERROR", "Traceback")
    server.output.wait_for_line("", count=len(sent))
    assert server.stop() == 0
    server.output.wait_for_end()
    return server.output.lines()


def test_off_by_default(stage: Stage) -> None:
    server = stage.serve()
    server.get("/hello")
    server.stop()
    server.output.wait_for_end()
    assert server.output.lines() == []


def test_combined(stage: Stage) -> None:
    sent = request("GET", "/hello?a=b", "User-Agent: tester/1.0", "Referer: http://from.example/")
    (line,) = logged(stage, "combined", sent)
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /hello\?a=b HTTP/1\.1" 200 6 "http://from\.example/" "tester/1\.0"',
        line,
    )


def test_json(stage: Stage) -> None:
    (line,) = logged(stage, "json", request("GET", "/hello?%22", 'User-Agent: a"b\\c\xe9'))
    entry = json.loads(line)
    assert (entry["method"], entry["path"], entry["query"]) == ("GET", "/hello", "%22")
    assert (entry["status"], entry["body_bytes"]) == (200, 6)
    assert entry["user_agent"] == 'a"b\\c\xe9'
    assert entry["duration_us"] > 0


@pytest.mark.parametrize(
    ("format_", "pattern"),
    [
        ("%(h)s %(l)s %(u)s", r"127\.0\.0\.1 - admin"),
        ("%(r)s", r"POST /echo\?q=1 HTTP/1\.1"),
        ("%(m)s %(U)s %(q)s %(H)s", r"POST /echo q=1 HTTP/1\.1"),
        ("%(s)s %(B)s %(b)s", r"200 4 4"),
        ("%(f)s|%(a)s", r"-\|tester"),
        ("%(T)s %(M)s %(D)s %(L)s", r"0 \d+ \d+ 0\.\d{6}"),
        ("%(p)s", r"<\d+>"),
        ("%({X-Some}i)s %({x-none}i)s", r"some -"),
        ("%({Content-Length}o)s %({x-none}o)s", r"4 -"),
        ("%({REQUEST_METHOD}e)s %({NONE}e)s", r"POST -"),
        ("100%% %(s)s", r"100% 200"),
        ("%(t)s", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
    ],
)
def test_atoms(stage: Stage, format_: str, pattern: str) -> None:
    fields = ["User-Agent: tester", "Authorization: Basic YWRtaW46c2VjcmV0", "X-Some: some"]
    (line,) = logged(stage, format_, request("POST", "/echo?q=1", *fields, body=b"body"))
    assert re.fullmatch(pattern, line), line


def test_no_body_is_a_dash_or_zero(stage: Stage) -> None:
    assert logged(stage, "%(b)s %(B)s", request("GET", "/status?204")) == ["- 0"]


def test_a_peer_cannot_forge_a_line_or_a_field(stage: Stage) -> None:
    fields = ['User-Agent: a" 200 "b\\', "Referer: tab\tbed caf\xe9"]
    (line,) = logged(stage, '"%(a)s" "%(f)s" "%(U)s"', request("GET", '/a"b%0a', *fields))
    assert line.startswith(r'"a\" 200 \"b\\" "tab\x09bed caf\xe9" ')
    assert r"\"" in line.rpartition(' "')[2] or "%22" in line


def test_user_names_are_escaped(stage: Stage) -> None:
    from base64 import b64encode

    field = "Authorization: Basic " + b64encode(b'x" 200\nforged:pw').decode()
    assert logged(stage, '"%(u)s"', request("GET", "/hello", field)) == [r'"x\" 200\x0aforged"']


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"nonsense\r\n\r\n", "400"),
        (request("GET", "/" + "a" * 9000), "414"),
        (request("GET", "/", "X-A: " + "a" * 9000), "431"),
        (request("POST", "/echo", "Transfer-Encoding: cow"), "501"),
        (request("GET", "/fail"), "500"),
        (request("GET", "/fail-late"), "200"),
    ],
    ids=[
        "no host",
        "nonsense",
        "long line",
        "long field",
        "coding",
        "app error",
        "app error after the head",
    ],
)
def test_one_line_also_for_what_went_wrong(stage: Stage, sent: bytes, expected: str) -> None:
    (line,) = logged(stage, "%(s)s", sent)
    assert line == expected


def test_one_line_for_each_request_of_a_connection(stage: Stage) -> None:
    server = stage.serve(access_logfile="-", access_logformat="%(U)s %(s)s")
    with server.connect() as wire:
        wire.send(request("GET", "/hello") * 5 + request("GET", "/nowhere"))
        for _ in range(6):
            wire.read_response()
    server.stop()
    server.output.wait_for_end()
    assert server.output.lines() == ["/hello 200"] * 5 + ["/nowhere 404"]


def test_no_line_for_a_connection_without_a_request(stage: Stage) -> None:
    server = stage.serve(access_logfile="-")
    server.connect().close()
    server.connect().reset()
    assert server.get("/hello").status == 200
    server.stop()
    server.output.wait_for_end()
    assert len(server.output.lines()) == 1


def test_the_bytes_of_a_file_are_counted(stage: Stage) -> None:
    (stage.directory / "file").write_bytes(b"f" * 300_000)
    server = stage.serve("pep3333:app", access_logfile="-", access_logformat="%(U)s %(B)s")
    assert len(server.get("/file").body) == 300_000
    server.output.wait_for_line("^/file 300000$")


def test_a_request_cut_by_the_client_has_a_line(stage: Stage) -> None:
    server = stage.serve(access_logfile="-", access_logformat="%(U)s %(s)s")
    with server.connect() as wire:
        wire.get("/endless").read_head()
        wire.read_exactly(100_000)
        wire.reset()
    server.output.wait_for_line("^/endless 200$")


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("target", ["/big?8000000", "/files/big"])
def test_what_a_client_did_not_take_is_not_counted(stage: Stage, threads: int, target: str) -> None:
    """Those who leave in the middle of an answer don't look as if they had it."""
    (stage.directory / "big").write_bytes(b"f" * 8_000_000)
    server = stage.serve(
        threads=threads,
        static=f"/files={stage.directory}",
        access_logfile="-",
        access_logformat="%(U)s %(s)s %(B)s",
    )
    with server.connect(receive_buffer=4096) as wire:
        wire.get(target).read_head()
    assert len(server.get(target).body) == 8_000_000
    server.output.wait_for_line("", count=2)
    path = target.partition("?")[0]
    cut, whole = server.output.lines()
    assert whole == f"{path} 200 8000000"
    match = re.fullmatch(f"{path} 200 ([0-9]+)", cut)
    assert match, cut
    assert 4096 <= int(match[1]) < 8_000_000


def test_a_killed_request_is_in_a_log(stage: Stage) -> None:
    """By its worker's line or the master's: nothing that was begun vanishes."""
    server = stage.serve(
        access_logfile="-", access_logformat="%(U)s %(s)s", timeout=1, graceful_timeout=1
    )
    server.allow_log("timeout", "exited", "SIGKILL", "Traceback")
    with server.connect() as wire:
        wire.get("/hold")
        server.log.wait_for_line(r"request timeout .*path=/hold")
    server.wait_ready(2)


def test_into_a_file_that_appends(stage: Stage) -> None:
    path = stage.directory / "access.log"
    path.write_text("before\n")
    server: Server = stage.serve(access_logfile="access.log", access_logformat="%(U)s")
    server.get("/hello")
    assert server.stop(signal.SIGTERM) == 0
    assert path.read_text() == "before\n/hello\n"


def test_a_file_that_cannot_be_opened_stops_no_replacement(stage: Stage) -> None:
    """Requests are served without, until the log is opened again."""
    directory = stage.directory / "logs"
    directory.mkdir()
    log = directory / "access.log"
    server = stage.serve(access_logfile=log)
    server.allow_log("cannot open the access log", "worker died")
    log.unlink()
    directory.rmdir()
    before = server.worker()
    with server.complains("ERROR .*cannot open the access log .*SIGUSR1"):
        os.kill(before, signal.SIGKILL)
    server.wait_answer("/hello")
    directory.mkdir()
    server.send(signal.SIGUSR1)

    def is_written() -> bool:
        server.get("/hello")
        return log.exists() and "GET /hello" in log.read_text()

    wait_until(is_written, what="lines in the new file")


def test_lines_of_several_workers_do_not_mix(stage: Stage) -> None:
    from harness import Load

    server = stage.serve(
        workers=2, access_logfile="access.log", access_logformat="%(r)s " + "x" * 300
    )
    with Load(server.address, keep_alive=4, one_request=4) as load:
        load.wait_more(500)
    report = load.stop()
    report.assert_none_failed()
    server.stop()
    lines = (stage.directory / "access.log").read_text().splitlines()
    assert len(lines) == len(report.samples)
    assert set(lines) == {"GET / HTTP/1.1 " + "x" * 300}
