"""Apps without a framework, one a scenario: nothing is looked up that the scenario isn't about.

With `?digest` or `?echo` some answer what they were given, so that the bench can check it; the load
never asks that way.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

Environ = dict[str, Any]

HELLO = b"Hello, world!\n"
PAGE = b"<p>All work and no play makes Jack a dull boy.</p>\n".ljust(64, b" ") * 64
LARGE = bytes(range(32, 127)) * 1077 + b"\n" * 85
CHUNK = b"0123456789abcdef" * 1024
CHUNKS = 64
BLOCK = 65536
FILES = os.environ.get("BENCH_FILES", ".")


def hello(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """The least that an app does."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    return [HELLO]


def numbered(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Tells what was asked, so that the order of answers can be seen."""
    body = environ.get("QUERY_STRING", "").encode("latin-1").rjust(14)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def page(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """What a site answers to a browser: 4 KiB with the fields that frameworks set."""
    body = PAGE
    if environ.get("QUERY_STRING") == "echo":
        seen = {key: value for key, value in environ.items() if key.startswith("HTTP_")}
        body = json.dumps(seen).encode()
    head = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Vary", "Accept-Language, Cookie"),
        ("Content-Language", "en"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Set-Cookie", "csrftoken=kJ2mQ0; Path=/; SameSite=Lax"),
        ("Set-Cookie", "seen=1; Path=/"),
    ]
    start_response("200 OK", head)
    return [body]


def answer_4k(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """4 KiB."""
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def answer_100k(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """100 KiB."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(LARGE)))])
    return [LARGE]


def upload(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Reads the body in full, and answers how long it was."""
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = b"%d" % len(content)
    if environ.get("QUERY_STRING") == "digest":
        body = b"%d %08x" % (len(content), zlib.crc32(content))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
    """1 MiB in 64 chunks, without saying how long it will be."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return chunks()


def chunks() -> Iterator[bytes]:
    """A generator, which every server takes: not each takes every iterator."""
    for _ in range(CHUNKS):
        yield CHUNK


def _file(environ: Environ, start_response: Any, name: str) -> Iterable[bytes]:
    """A file by the server's wrapper, which closes it; where it has none, by a generator, as
    frameworks do.
    """
    file = open(os.path.join(FILES, name), "rb")  # noqa: SIM115
    size = os.fstat(file.fileno()).st_size
    head = [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    start_response("200 OK", head)
    wrap = environ.get("wsgi.file_wrapper", blocks)
    return wrap(file, BLOCK)


def blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """What wsgi.file_wrapper does at the least."""
    with file:
        while block := file.read(size):
            yield block


def file_20k(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """A file of 20 KiB."""
    return _file(environ, start_response, "20k.bin")


def file_10m(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """A file of 10 MiB."""
    return _file(environ, start_response, "10m.bin")


def sleeps(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Waits 10 ms, as for a database."""
    time.sleep(0.010)
    return hello(environ, start_response)


def mixed(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Quick requests of 1 ms, and slow ones of a second."""
    time.sleep(1.0 if environ["PATH_INFO"] == "/slow" else 0.001)
    return hello(environ, start_response)


class Computing(threading.Thread):
    """A thread that computes in Python without end, and counts in how many hundredths of a second
    it could.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.moments = 0

    def run(self) -> None:
        last = 0
        while True:
            for _ in range(1000):
                pass
            moment = int(time.monotonic() * 100)
            if moment != last:
                last = moment
                self.moments += 1


_computing: list[Computing] = []


def computing(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Hello beside a background thread, which begins with the first request: after any fork."""
    if not _computing:
        _computing.append(Computing())
        _computing[0].start()
    if environ.get("QUERY_STRING") != "moments":
        return hello(environ, start_response)
    body = b"%d" % _computing[0].moments
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
