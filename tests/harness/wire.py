"""A raw HTTP client: sends exactly the bytes given, and reads responses with a parser that forgives
nothing.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass, field

from .process import DEADLINE, scaled

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
MAX_HEAD = 1 << 20

Address = tuple[str, int] | str | bytes


class BadResponse(AssertionError):
    """What came is no well-formed HTTP/1.1 response, or it did not come whole."""


@dataclass
class Response:
    """One response as received; `interim` are the 1xx that came before it."""

    version: bytes
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    chunks: list[bytes] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The value of a field that may occur at most once."""
        values = self.all(name)
        if len(values) > 1:
            raise BadResponse(f"{name} occurs {len(values)} times")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def closes(self) -> bool:
        """Whether the server said that it closes the connection after this response."""
        return "close" in (self.get("Connection") or "").lower()


class Wire:
    """One connection."""

    def __init__(
        self,
        address: Address,
        deadline: float = DEADLINE,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        self._deadline = deadline
        self._buffer = b""
        self._eof = False
        family = _family(address)
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(scaled(deadline))
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes as a well-behaved client does."""
        self.socket.close()

    def reset(self) -> None:
        """Closes with a TCP reset (SO_LINGER with no time)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Ends our sending direction and goes on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes, deadline: float | None = None) -> Wire:
        """Sends all of it."""
        self.socket.settimeout(scaled(deadline or self._deadline))
        self.socket.sendall(data)
        return self

    def send_what_fits(self, data: bytes, deadline: float = DEADLINE) -> bool:
        """Sends until done or until the server stops us; says whether all of it went out."""
        self.socket.settimeout(scaled(deadline))
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def get(self, target: str = "/", *extra: str) -> Wire:
        """Sends a GET with a Host and the extra field lines."""
        return self.send(request("GET", target, *extra))

    def _fill(self, end: float) -> bool:
        """Receives more; False at end of stream."""
        if self._eof:
            return False
        left = end - time.monotonic()
        if left <= 0:
            raise BadResponse(f"deadline; received so far: {self._buffer[:500]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise BadResponse(f"deadline; received so far: {self._buffer[:500]!r}") from None
        if not data:
            self._eof = True
            return False
        self._buffer += data
        return True

    def _take(self, count: int, end: float) -> bytes:
        while len(self._buffer) < count:
            if not self._fill(end):
                raise BadResponse(
                    f"end of stream, {count - len(self._buffer)} bytes of {count} missing"
                )
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _line(self, end: float) -> bytes:
        while (at := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadResponse("a line without end")
            if not self._fill(end):
                raise BadResponse(f"end of stream inside a line: {self._buffer[:500]!r}")
        line, self._buffer = self._buffer[:at], self._buffer[at + 1 :]
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise BadResponse(f"a line that does not end in CRLF: {line!r}")
        return line[:-1]

    def read_response(self, method: str = "GET", deadline: float | None = None) -> Response:
        """Reads one final response, with the interim ones before it."""
        end = time.monotonic() + scaled(deadline or self._deadline)
        interim: list[Response] = []
        while True:
            response = self._read_head(end)
            if response.status >= 200:
                break
            interim.append(response)
        response.interim = interim
        self._read_body(response, method, end)
        return response

    def read_interim(self, deadline: float | None = None) -> Response:
        """Reads one head that must be a 1xx."""
        response = self._read_head(time.monotonic() + scaled(deadline or self._deadline))
        if response.status >= 200:
            raise BadResponse(f"a final {response.status} instead of an interim response")
        return response

    def read_head(self, deadline: float | None = None) -> Response:
        """Reads the head only; the body is then the caller's."""
        return self._read_head(time.monotonic() + scaled(deadline or self._deadline))

    def _read_head(self, end: float) -> Response:
        line = self._line(end)
        match = STATUS_LINE.fullmatch(line)
        if not match:
            raise BadResponse(f"status line {line!r}")
        fields = []
        while line := self._line(end):
            parts = FIELD_LINE.fullmatch(line)
            if not parts:
                raise BadResponse(f"field line {line!r}")
            fields.append((parts[1].decode("latin-1"), parts[2].decode("latin-1")))
        return Response(match[1], int(match[2]), match[3].decode("latin-1"), fields)

    def _read_body(self, response: Response, method: str, end: float) -> None:
        length, coding = response.get("Content-Length"), response.get("Transfer-Encoding")
        if length is not None and coding is not None:
            raise BadResponse("both Content-Length and Transfer-Encoding (RFC 9112 6.2)")
        if response.status in (204, 304) or method == "HEAD":
            if response.status == 204 and (length is not None or coding is not None):
                raise BadResponse("a 204 with a length (RFC 9110 8.6, RFC 9112 6.1)")
            return
        if coding is not None:
            if coding.lower() != "chunked":
                raise BadResponse(f"Transfer-Encoding {coding!r}")
            response.framing = "chunked"
            while (chunk := self.read_chunk(end)) != b"":
                response.chunks.append(chunk)
            response.body = b"".join(response.chunks)
        elif length is not None:
            if not length.isdigit():
                raise BadResponse(f"Content-Length {length!r}")
            response.framing = "length"
            response.body = self._take(int(length), end)
        else:
            response.framing = "close"
            response.body = self.read_to_end(max(0.0, end - time.monotonic()) or 0.001)

    def read_chunk(self, end: float | None = None) -> bytes:
        """Reads one chunk; the last one (empty) with the end of the body."""
        end = end if end is not None else time.monotonic() + scaled(self._deadline)
        line = self._line(end)
        if not CHUNK_SIZE.fullmatch(line):
            raise BadResponse(f"chunk size {line!r}")
        size = int(line, 16)
        data = self._take(size, end) if size else b""
        if self._take(2, end) != b"\r\n":
            raise BadResponse("a chunk that does not end in CRLF")
        return data

    def read_exactly(self, count: int, deadline: float | None = None) -> bytes:
        """Reads so many raw bytes."""
        return self._take(count, time.monotonic() + scaled(deadline or self._deadline))

    def read_to_end(self, deadline: float | None = None) -> bytes:
        """Reads everything up to the server's close; a reset is an error here."""
        end = time.monotonic() + scaled(deadline or self._deadline)
        while self._fill(end):
            pass
        data, self._buffer = self._buffer, b""
        return data

    def wait_closed(self, deadline: float | None = None) -> None:
        """Asserts that the server closes without another byte (a reset counts as closed)."""
        try:
            rest = self.read_to_end(deadline)
        except ConnectionError:
            return
        if rest:
            raise BadResponse(f"bytes where the end of the stream was expected: {rest[:500]!r}")

    def is_silent_for(self, seconds: float) -> bool:
        """Whether nothing comes (neither bytes nor the end) for a bounded time."""
        if self._buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        return False


def request(
    method: str, target: str, *fields: str, body: bytes | None = None, version: str = "HTTP/1.1"
) -> bytes:
    """The bytes of a request; a body gets its Content-Length."""
    lines = [f"{method} {target} {version}"]
    if not any(line.lower().startswith("host:") for line in fields):
        lines.append("Host: test.example")
    lines.extend(fields)
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*chunks: bytes) -> bytes:
    """A body in chunked coding, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, (str, bytes)):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
