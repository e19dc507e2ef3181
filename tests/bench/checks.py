"""Whether a server's answers are right: a fast wrong answer is no answer.

A check raises Wrong with the reason, or gives notes on what is right but different.
"""

from __future__ import annotations

import json
import ssl
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import BadResponse, Response, Wire
from harness.process import is_readable, time_until
from tls.certificates import TlsWire

if TYPE_CHECKING:
    from .scenario import Scenario

DEADLINE = 10.0
PIPELINED = 16
CLOSES = "closes each connection"


class Wrong(Exception):
    """An answer that isn't right, and why."""


@dataclass(frozen=True)
class Checked:
    """A server to be asked, and for which scenario."""

    address: tuple[str, int]
    scenario: Scenario
    trust: ssl.SSLContext | None = None
    is_floor: bool = False

    def connect(self) -> Wire:
        """A new connection."""
        if self.trust is None:
            return Wire(self.address, DEADLINE)
        return TlsWire(self.address, self.trust, deadline=DEADLINE)

    def is_there(self) -> bool:
        """Whether anything answers; with 5xx a server that is not ready yet may."""
        try:
            with self.connect() as wire:
                return wire.send(self.scenario.asking.raw()).read_response().status < 500
        except (BadResponse, OSError):
            return False

    def is_right(self) -> bool:
        """Whether it answers as it should, asked once."""
        try:
            with self.connect() as wire:
                compare(wire.send(self.scenario.asking.raw()).read_response(), self.scenario)
        except (Wrong, BadResponse, OSError):
            return False
        return True


Check = Callable[[Checked], list[str]]


def checked(server: Checked) -> list[str]:
    """What every answer has to be, and what the scenario adds; raises Wrong."""
    try:
        notes = answers(server)
        if not server.is_floor:
            for check in server.scenario.checks:
                notes += check(server)
    except BadResponse as bad:
        said = str(bad)[:120]
        late = said.startswith("deadline; received so far: b''")
        raise Wrong(f"no answer within {DEADLINE:.0f} s" if late else said) from None
    except OSError as error:
        raise Wrong(type(error).__name__) from None
    return list(dict.fromkeys(notes))


def answers(server: Checked) -> list[str]:
    """Two requests, on one connection where the server keeps it."""
    scenario, notes = server.scenario, []
    with server.connect() as wire:
        first = wire.send(scenario.asking.raw()).read_response()
        notes += compare(first, scenario)
        if closed(wire, first):
            return [*notes, *([] if scenario.asking.closes else [CLOSES])]
        notes += compare(wire.send(scenario.asking.raw()).read_response(), scenario)
    return notes


def closed(wire: Wire, response: Response) -> bool:
    """Whether the connection ends after this answer."""
    if response.closes or response.framing == "close" or response.version == b"0":
        return True
    if not is_readable(wire.socket.fileno(), 0.05):
        return False
    with suppress(OSError):
        return not wire.socket.recv(1)
    return True


def compare(response: Response, scenario: Scenario) -> list[str]:
    """Status, framing, fields and body."""
    right = scenario.right
    if response.status != right.status:
        raise Wrong(f"status {response.status}")
    if right.length and response.framing != "length":
        raise Wrong("the length that the app set is lost")
    for name in dict.fromkeys(name for name, _ in right.head):
        wanted = [value for key, value in right.head if key == name]
        got = response.all(name)
        if [plain(value) for value in got] != [plain(value) for value in wanted]:
            raise Wrong(f"{name} is {', '.join(got) or 'lost'}")
    if response.body != right.body:
        raise Wrong(f"the body is another one ({len(response.body)} bytes)")
    if not right.length and response.framing == "close":
        return ["ends it by closing"]
    return []


def plain(value: str) -> str:
    """A value without what makes no difference."""
    return value.replace(" ", "").lower()


def closes(server: Checked) -> list[str]:
    """`Connection: close` is obeyed."""
    with server.connect() as wire:
        compare(wire.send(server.scenario.asking.raw()).read_response(), server.scenario)
        # It is an end if it comes at once: a keep-alive timeout takes longer.
        if not is_readable(wire.socket.fileno(), 1):
            raise Wrong("keeps a connection that was to be closed")
    return []


def echoes(server: Checked) -> list[str]:
    """The app gets each field as it was sent."""
    asking = server.scenario.asking
    with server.connect() as wire:
        seen = json.loads(wire.send(asking.raw("echo")).read_response().body)
    for name, value in asking.headers:
        key = "HTTP_" + name.upper().replace("-", "_")
        if seen.get(key) != value:
            raise Wrong(f"{key} is {seen.get(key)!r}")
    return []


def pipelines(server: Checked) -> list[str]:
    """As many answers as requests, in their order."""
    asking = server.scenario.asking
    sent = b"".join(asking.raw(f"number={number}") for number in range(PIPELINED))
    with server.connect() as wire:
        wire.send(sent)
        for number in range(PIPELINED):
            try:
                body = wire.read_response(deadline=3).body.strip().decode()
            except BadResponse:
                raise Wrong(f"{number} answers to {PIPELINED} pipelined requests") from None
            if body != f"number={number}":
                raise Wrong(f"answer {number} is that to {body!r}")
        if is_readable(wire.socket.fileno(), 0.05) and wire.socket.recv(1):
            raise Wrong("more answers than requests")
    return []


def digests(server: Checked) -> list[str]:
    """The app gets the body as it was sent."""
    asking = server.scenario.asking
    wanted = b"%d %08x" % (len(asking.body), zlib.crc32(asking.body))
    with server.connect() as wire:
        got = wire.send(asking.raw("digest")).read_response().body
    if got != wanted:
        raise Wrong(f"the app read another body: {got[:40].decode('latin-1')}")
    return []


def computes(server: Checked) -> list[str]:
    """The background thread gets on while nobody asks."""

    def moments() -> int:
        with server.connect() as wire:
            return int(wire.send(server.scenario.asking.raw("moments")).read_response().body)

    before = moments()
    # A server that never lets go of the interpreter lock runs it only within requests.
    time_until(lambda: False, 0.3)
    if moments() - before < 6:
        raise Wrong("the app's background thread stands still")
    return []


def ends_responses(server: Checked) -> list[str]:
    """The `close()` of what the app returned is called (PEP 3333, "Specification Details"): Django
    and Flask end a request there, give back its database connections and more.
    """

    def ended() -> int:
        with server.connect() as wire:
            return int(wire.send(server.scenario.asking.raw("ended")).read_response().body)

    before = ended()
    # The answer may be there before close() is called.
    if time_until(lambda: ended() > before, 2) is None:
        raise Wrong("close() of what the app returned is not called")
    return []
