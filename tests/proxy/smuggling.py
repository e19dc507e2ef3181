"""Bytes by which clients try to get a request past a proxy, and the check that none did.

nginx gives every request that it counts a marker of its own, which goes to the server in a field
and into nginx's log. The app notes the marker of every request that it sees. So whatever was
smuggled shows: it has no marker, or that of another request, or one that nginx doesn't know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

POISON = b"GET /poison HTTP/1.1\r\nHost: poison\r\nX-Poison: "
WHOLE = b"GET /poison HTTP/1.1\r\nHost: poison\r\nContent-Length: 0\r\n\r\n"
POST = b"POST /attack HTTP/1.1\r\nHost: site\r\n"
GET = b"GET /attack HTTP/1.1\r\nHost: site\r\n"
CODED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CODING = b"Transfer-Encoding: chunked"


def framed(*fields: bytes, body: bytes = b"0\r\n\r\n" + POISON) -> bytes:
    """A POST with these field lines and a body that may end at its first bytes or later."""
    return POST + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body


def length_of(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


LONG = b"0\r\n\r\n" + POISON
OBFUSCATED = {
    "space before colon": b"Transfer-Encoding : chunked",
    "tab before colon": b"Transfer-Encoding\t: chunked",
    "space before name": b" Transfer-Encoding: chunked",
    "no space": b"Transfer-Encoding:chunked",
    "tab": b"Transfer-Encoding:\tchunked",
    "vertical tab": b"Transfer-Encoding:\x0bchunked",
    "form feed behind": b"Transfer-Encoding: chunked\x0c",
    "NUL behind": b"Transfer-Encoding: chunked\0",
    "CR behind": b"Transfer-Encoding: chunked\r",
    "upper case": b"TRANSFER-ENCODING: CHUNKED",
    "quoted": b'Transfer-Encoding: "chunked"',
    "single quotes": b"Transfer-Encoding: 'chunked'",
    "prefix": b"Transfer-Encoding: xchunked",
    "parameter": b"Transfer-Encoding: chunked;q=1",
    "comma": b"Transfer-Encoding: ,chunked",
    "identity behind": b"Transfer-Encoding: chunked, identity",
    "identity before": b"Transfer-Encoding: identity, chunked",
    "twice": CODING + b"\r\n" + CODING,
    "cow first": b"Transfer-Encoding: cow\r\n" + CODING,
    "cow last": CODING + b"\r\nTransfer-Encoding: cow",
    "folded": b"Transfer-Encoding:\r\n chunked",
    "folded from another": b"X: a\r\n Transfer-Encoding: chunked",
    "underscore": b"Transfer_Encoding: chunked",
    "underscore and dash": b"Transfer_Encoding: chunked\r\nTransfer-Encoding: cow",
    "bare LF before": b"X: a\nTransfer-Encoding: chunked",
    "bare CR before": b"X: a\rTransfer-Encoding: chunked",
    "NUL before": b"X: a\0Transfer-Encoding: chunked",
    "non-ASCII space": b"Transfer-Encoding: \xa0chunked",
    "named by Connection": b"Connection: Transfer-Encoding\r\n" + CODING,
}
LENGTHS = {
    "differing": b"Content-Length: 5\r\n" + length_of(LONG),
    "differing, longer first": length_of(LONG) + b"\r\nContent-Length: 5",
    "equal": length_of(LONG) + b"\r\n" + length_of(LONG),
    "list": b"Content-Length: 5, %d" % len(LONG),
    "equal list": b"Content-Length: %d, %d" % (len(LONG), len(LONG)),
    "plus": b"Content-Length: +5",
    "minus": b"Content-Length: -5",
    "space inside": b"Content-Length: 5 %d" % len(LONG),
    "hexadecimal": b"Content-Length: 0x5",
    "underscored value": b"Content-Length: 5_0",
    "beyond 64 bits": b"Content-Length: 18446744073709551621",
    "space before colon": b"Content-Length : 5",
    "underscore": b"Content_Length: 5",
    "NUL": b"Content-Length: 5\0",
    "folded": b"Content-Length:\r\n 5",
}
CHUNKS = {
    "size with plus": b"+5\r\nabcde\r\n0\r\n\r\n",
    "size with minus": b"-5\r\nabcde\r\n0\r\n\r\n",
    "size with 0x": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "size with underscore": b"0_5\r\nabcde\r\n0\r\n\r\n",
    "size with space": b"5 \r\nabcde\r\n0\r\n\r\n",
    "size with leading space": b" 5\r\nabcde\r\n0\r\n\r\n",
    "size with NUL": b"5\0\r\nabcde\r\n0\r\n\r\n",
    "size wraps 32 bits": b"100000005\r\nabcde\r\n0\r\n\r\n",
    "size wraps 64 bits": b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
    "size of 63 bits": b"7fffffffffffffff\r\nabcde\r\n0\r\n\r\n",
    "size ends in LF": b"5\nabcde\r\n0\r\n\r\n",
    "size ends in CR": b"5\rabcde\r\n0\r\n\r\n",
    "size ends in CR CR LF": b"5\r\r\nabcde\r\n0\r\n\r\n",
    "content ends in LF": b"5\r\nabcde\n0\r\n\r\n",
    "content ends in nothing": b"5\r\nabcde0\r\n\r\n",
    "content ends in two bytes": b"5\r\nabcdeXX0\r\n\r\n",
    "extension": b"5;a=b\r\nabcde\r\n0\r\n\r\n",
    "extension with LF": b"5;a\nabcde\r\n0\r\n\r\n",
    "extension with CR": b"5;a\rb\r\nabcde\r\n0\r\n\r\n",
    "extension with quoted line end": b'5;a="\r\n0\r\n\r\n' + WHOLE + b'"\r\nabcde\r\n0\r\n\r\n',
    "extension with request": b"2;\nxx\r\n4c\r\n0\r\n\r\n" + WHOLE,
    "last chunk with zeros": b"5\r\nabcde\r\n0000\r\n\r\n",
    "last chunk with extension": b"5\r\nabcde\r\n0;a\r\n\r\n",
    "last chunk ends in LF": b"5\r\nabcde\r\n0\n\n",
    "last chunk missing": b"5\r\nabcde\r\n",
    "trailer": b"5\r\nabcde\r\n0\r\nX: a\r\n\r\n",
    "trailer with length": b"5\r\nabcde\r\n0\r\nContent-Length: 50\r\n\r\n",
    "trailer with marker": b"5\r\nabcde\r\n0\r\nX-Marker: forged\r\n\r\n",
    "trailer ends in LF": b"5\r\nabcde\r\n0\r\nX: a\n\n",
    "trailer is a request": b"5\r\nabcde\r\n0\r\nGET /poison HTTP/1.1\r\nHost: poison\r\n\r\n",
}
LINES = {
    "lines end in LF": b"GET /attack HTTP/1.1\nHost: site\n\n" + WHOLE,
    "lines end in CR": b"GET /attack HTTP/1.1\rHost: site\r\r" + WHOLE,
    "line within a value, LF": GET + b"X: a\n\n" + WHOLE,
    "line within a value, CR": GET + b"X: a\r\r" + WHOLE,
    "NUL in a value": GET + b"X: a\0\r\n\r\n" + WHOLE,
    "NUL in a name": GET + b"X\0: a\r\n\r\n" + WHOLE,
    "NUL in the target": b"GET /attack\0 HTTP/1.1\r\nHost: site\r\n\r\n" + WHOLE,
    "line end in the target": b"GET /attack\r\nX: HTTP/1.1\r\nHost: site\r\n\r\n" + WHOLE,
    "encoded line end in the target": b"GET /attack%0d%0aX-Marker:%20forged HTTP/1.1\r\n"
    b"Host: site\r\n\r\n",
    "encoded request in the target": b"GET /attack%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0a "
    b"HTTP/1.1\r\nHost: site\r\n\r\n",
    "space in the target": b"GET /attack HTTP/1.1 HTTP/1.1\r\nHost: site\r\n\r\n",
    "folded line": GET + b"X: a\r\n b\r\n\r\n" + WHOLE,
    "fold before the first field": b"GET /attack HTTP/1.1\r\n X: a\r\nHost: site\r\n\r\n" + WHOLE,
    "marker": GET + b"X-Marker: forged\r\n\r\n",
    "marker with underscore": GET + b"X_Marker: forged\r\n\r\n",
    "marker twice": GET + b"X-Marker: forged\r\nx-marker: forged\r\n\r\n",
    "two hosts": b"GET /attack HTTP/1.1\r\nHost: site\r\nHost: poison\r\n\r\n",
    "no host": b"GET /attack HTTP/1.1\r\n\r\n",
    "absolute target of another host": b"GET http://poison/attack HTTP/1.1\r\nHost: site\r\n\r\n",
    "absolute target without a host": b"GET http:///attack HTTP/1.1\r\nHost: site\r\n\r\n",
    "host with a path": b"GET /attack HTTP/1.1\r\nHost: site/poison\r\n\r\n",
    "host with a user": b"GET /attack HTTP/1.1\r\nHost: site@poison\r\n\r\n",
    "HTTP/0.9": b"GET /attack\r\n",
    "HTTP/1.0 with a coding": b"POST /attack HTTP/1.0\r\nHost: site\r\n"
    + CODING
    + b"\r\n\r\n"
    + LONG,
    "body of a GET": GET + length_of(WHOLE) + b"\r\n\r\n" + WHOLE,
    "body of a HEAD": b"HEAD /attack HTTP/1.1\r\nHost: site\r\n"
    + length_of(WHOLE)
    + b"\r\n\r\n"
    + WHOLE,
    "pipelined": GET + b"\r\n" + WHOLE + GET + b"\r\n",
    "pipelined behind a bad one": GET + b"X : a\r\n\r\n" + WHOLE,
    "expectation": framed(b"Expect: 100-continue", length_of(WHOLE), body=WHOLE),
    "unknown expectation": framed(b"Expect: miracle", length_of(WHOLE), body=WHOLE),
    "upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + WHOLE,
    "kept by both": GET + b"Connection: keep-alive, X-Marker\r\n\r\n" + WHOLE,
}

ATTACKS: dict[str, bytes] = {
    **{f"CL.TE, {name}": framed(length_of(LONG), line) for name, line in OBFUSCATED.items()},
    **{
        f"TE.CL, {name}": framed(
            line, b"Content-Length: 4", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)
        )
        for name, line in OBFUSCATED.items()
    },
    **{f"TE, {name}": framed(line, body=LONG) for name, line in OBFUSCATED.items()},
    **{f"CL.CL, {name}": framed(line, body=LONG) for name, line in LENGTHS.items()},
    **{f"chunks, {name}": CODED + body + WHOLE for name, body in CHUNKS.items()},
    **{f"lines, {name}": sent for name, sent in LINES.items()},
}


@dataclass(frozen=True)
class Counted:
    """A request as nginx counted it."""

    marker: str
    upstream: str
    """The status of the server's answer, `-` if it never saw the request."""


def complaints(seen: Iterable[Mapping[str, str | None]], counted: Iterable[Counted]) -> list[str]:
    """What of the requests that the app saw nginx didn't count as such."""
    seen = list(seen)
    known = {request.marker: request for request in counted}
    times = Counter(request["marker"] for request in seen)
    found = []
    for request in seen:
        marker = request["marker"]
        if marker is None:
            found.append(f"without a marker: {request}")
        elif marker not in known:
            found.append(f"nginx doesn't know it: {request}")
        elif times[marker] > 1:
            found.append(f"seen {times[marker]} times: {request}")
    answered = {request.marker for request in known.values() if request.upstream == "200"}
    found += [f"answered, but never seen: {marker}" for marker in answered - set(times)]
    return found
