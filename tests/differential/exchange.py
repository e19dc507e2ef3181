"""Sends the bytes of a case and gives what came of them.

Behind each case, in the same write, goes one more request, the sentinel, and then the end of the
stream. So no outcome needs a guessed time: whatever a server made of the case, it comes to the end.
Where the sentinel is answered by the app as what it is, the connection was kept and both sides
agree on where the case ended.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from harness.process import scaled

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n"
DEADLINE = 30.0
CLIENTS = 16
STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d)\d\d[^\r\n]*\r\n")
CHUNK = re.compile(rb"([0-9A-Fa-f]+)\r\n")


@dataclass
class Outcome:
    """What came of a case, in the aspects that are compared."""

    status: list[str] = field(default_factory=list)
    """The class of each answer; at the end `silent` if the server neither answered nor closed."""
    framing: list[str] = field(default_factory=list)
    """How each answer's body is delimited."""
    seen: list[object] = field(default_factory=list)
    """What the app understood, request by request."""
    kept: bool = False
    """Whether the sentinel was seen as what it is."""

    ASPECTS = ("status", "framing", "seen", "kept")

    def differs_from(self, other: Outcome) -> list[str]:
        """The aspects in which they aren't the same."""
        return [name for name in self.ASPECTS if getattr(self, name) != getattr(other, name)]


def outcomes(address: tuple[str, int], cases: Mapping[str, bytes]) -> dict[str, Outcome]:
    """What comes of every case, each on a connection of its own, many at a time."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = {name: pool.submit(outcome, address, case) for name, case in cases.items()}
        return {name: future.result() for name, future in running.items()}


def outcome(address: tuple[str, int], case: bytes) -> Outcome:
    """What comes of one case."""
    received, is_closed = converse(address, case + SENTINEL)
    found = read(received)
    if not is_closed:
        found.status.append("silent")
    return found


def converse(address: tuple[str, int], sent: bytes) -> tuple[bytes, bool]:
    """All that the server sends, and whether it closed."""
    received = b""
    with socket.create_connection(address, timeout=scaled(DEADLINE)) as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        except TimeoutError:
            return b"", False
        except OSError:
            pass  # It was refused before all of it was read; the answer may be there all the same.
        try:
            while data := client.recv(1 << 16):
                received += data
        except TimeoutError:
            return received, False
        except OSError:
            pass
        return received, True


def read(received: bytes) -> Outcome:
    """The answers, taken apart as any client does; it is our app, so the bodies are known."""
    found = Outcome()
    while received:
        line = STATUS_LINE.match(received)
        head, end, rest = received.partition(b"\r\n\r\n")
        if not line or not end:
            found.status.append("garbage")
            return found
        fields = dict(parse_field(text) for text in head.split(b"\r\n")[1:])
        framing, body, received = take_body(line[1], fields, rest)
        understood = parse_json(fields.get(b"x-understood", body))
        if is_sentinel(understood):
            found.kept = True
            continue
        found.status.append(line[1].decode() + "xx")
        found.framing.append(framing)
        if understood is not None:
            found.seen.append(understood)
    return found


def is_sentinel(understood: object) -> bool:
    """Whether that is what the app has to understand of the sentinel, and nothing more."""
    if not isinstance(understood, dict):
        return False
    wanted = {"method": "GET", "target": "/sentinel", "body": ""}
    fields = {"HTTP_HOST": "sentinel", "HTTP_CONNECTION": "close"}
    return {**understood, **wanted, "fields": fields} == understood


def parse_field(text: bytes) -> tuple[bytes, bytes]:
    name, _, value = text.partition(b":")
    return name.strip().lower(), value.strip()


def take_body(
    status: bytes, fields: Mapping[bytes, bytes], rest: bytes
) -> tuple[str, bytes, bytes]:
    """How the body is delimited, the body, and what follows it."""
    if status == b"1":
        return "none", b"", rest
    if b"x-understood" in fields:
        return "head", b"", rest
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = b""
        while (size := CHUNK.match(rest)) and int(size[1], 16):
            start = size.end()
            body += rest[start : start + int(size[1], 16)]
            rest = rest[start + int(size[1], 16) + 2 :]
        return "chunked", body, rest.partition(b"\r\n\r\n")[2]
    if (length := fields.get(b"content-length", b"")).isdigit():
        return "length", rest[: int(length)], rest[int(length) :]
    return "close", rest, b""


def parse_json(body: bytes) -> object:
    """What the app understood; None if the answer isn't its."""
    try:
        return json.loads(body)
    except ValueError:
        return None
