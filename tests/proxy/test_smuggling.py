"""No request gets past nginx: what the app sees is what nginx counted, one for one, and the next
client of a connection between the two gets its own answer.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Stage, wait_until
from harness.wire import Wire
from proxy.nginx import Nginx
from proxy.smuggling import ATTACKS, Counted, complaints

pytestmark = [pytest.mark.proxy, pytest.mark.ironhorn("nobody else promises it")]

SILENCE = 0.1
"""How long an attack waits for more of an answer: some are left unfinished and get none."""

# What is added to the example, from nothing to the most that nginx lets through.
STREAMED = "proxy_request_buffering off;"
LENIENT = "ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;"
MODES = {
    "as in the example": ("", ""),
    "bodies streamed": ("", STREAMED),
    "lenient": (LENIENT, STREAMED),
}


def marking(for_server: str, for_location: str) -> dict[str, str]:
    """One nginx process, one connection to the server that is kept, and the markers."""
    log = "log_format markers '$request_id $upstream_status';"
    mark = "proxy_set_header X-Marker $request_id; access_log markers.log markers;"
    return {
        r"^worker_processes auto;$": "worker_processes 1;",
        r"^    upstream app \{$": f"    {log}\n    upstream app {{",
        r"^ {8}keepalive 32;$": "        keepalive 1;",
        r"^ {8}server_name .*;$": f"        {for_server}",
        r"^ {12}proxy_redirect off;$": f"            {mark} {for_location}",
    }


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_smuggled(stage: Stage, front: Callable[..., Nginx], mode: str) -> None:
    server = stage.serve("recording:app", keepalive=60)
    nginx = front(
        server.address,
        keep_alive=True,
        changes=marking(*MODES[mode]),
        tolerates="client (sent|intended)",
    )
    for nr, (name, sent) in enumerate(ATTACKS.items()):
        attack(nginx, sent)
        for turn in (1, 2):
            target = f"/victim-{nr}-{turn}"
            with Wire(nginx.address) as wire:
                response = wire.get(target, "Connection: close").read_response()
            assert (response.status, response.body.decode()) == (200, f"{target}\n"), name

    seen = [json.loads(line) for line in (stage.directory / "seen").read_text().splitlines()]
    wait_until(
        lambda: {request["marker"] for request in seen} <= {one.marker for one in counted(nginx)},
        what="nginx's log is complete",
    )
    assert complaints(seen, counted(nginx)) == []
    victims = [request for request in seen if request["target"].startswith("/victim-")]
    assert len(victims) == 2 * len(ATTACKS)
    # The test would say nothing if attacks came to nowhere, or on connections of their own.
    attacks = [request for request in seen if request["target"].startswith("/attack")]
    assert len(attacks) > 30
    shared = {request["port"] for request in victims} & {request["port"] for request in attacks}
    assert shared
    assert len({request["port"] for request in seen}) < len(seen) / 2


def attack(nginx: Nginx, sent: bytes) -> None:
    """Sends all of it and takes what comes, until the end or silence."""
    with socket.create_connection(nginx.address, timeout=SILENCE) as client:
        try:
            client.sendall(sent)
            while client.recv(1 << 16):
                pass
        except (TimeoutError, ConnectionError):
            pass


def counted(nginx: Nginx) -> list[Counted]:
    """The requests that nginx has passed on, or would have."""
    log: Path = nginx.directory / "markers.log"
    return [Counted(*line.split(maxsplit=1)) for line in log.read_text().splitlines()]


def test_the_check_finds_what_is_smuggled() -> None:
    """Each kind, in records that were made up."""
    known = [Counted("a", "200"), Counted("b", "400"), Counted("c", "200")]
    told = complaints([{"marker": None}, {"marker": "x"}, {"marker": "a"}, {"marker": "a"}], known)
    assert [line.partition(":")[0] for line in told] == [
        "without a marker",
        "nginx doesn't know it",
        "seen 2 times",
        "seen 2 times",
        "answered, but never seen",
    ]
    assert complaints([{"marker": "a"}, {"marker": "b"}, {"marker": "c"}], known) == []
