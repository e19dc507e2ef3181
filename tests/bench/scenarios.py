"""Every scenario, in the order of the report."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

from . import checks, measures
from .asking import BROWSER, Asking, Right
from .cores import AVAILABLE
from .scenario import STEADY, Scenario
from .servers import Floor, Wanted

HELLO = b"Hello, world!\n"
PAGE = b"<p>All work and no play makes Jack a dull boy.</p>\n".ljust(64, b" ") * 64
LARGE = bytes(range(32, 127)) * 1077 + b"\n" * 85
CHUNK = b"0123456789abcdef" * 1024
CHUNKS = 64
SMALLEST = "smallest:hello"
FILES = {"20k.bin": 20 << 10, "10m.bin": 10 << 20}

PLAIN = (("Content-Type", "text/plain"),)
HTML = (("Content-Type", "text/html"),)
BINARY = (("Content-Type", "application/octet-stream"),)
PAGE_HEAD = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Vary", "Accept-Language, Cookie"),
    ("Content-Language", "en"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Set-Cookie", "csrftoken=kJ2mQ0; Path=/; SameSite=Lax"),
    ("Set-Cookie", "seen=1; Path=/"),
)
KEPT = frozenset({"keep-alive"})
HELLO_RIGHT = Right(HELLO, PLAIN)
HELLO_FLOOR = Floor(HELLO, PLAIN)


def filler(name: str, size: int) -> bytes:
    """So many bytes that are the same in every run, and in which a lost piece is seen."""
    made, seed = bytearray(), name.encode()
    while len(made) < size:
        seed = zlib.crc32(seed).to_bytes(4, "big")
        made += seed * 64
    return bytes(made[:size])


def content(name: str) -> bytes:
    """What is in a file that is sent."""
    return filler(name, FILES[name])


def write_files(directory: Path) -> None:
    """The files that are sent."""
    for name in FILES:
        (directory / name).write_bytes(content(name))


def hello(name: str, title: str, about: str, **other: object) -> Scenario:
    """A scenario of the smallest app."""
    wanted = Wanted(floor=HELLO_FLOOR)
    scenario = Scenario(name, title, about, measures.steady, HELLO_RIGHT, wanted)
    return replace(scenario, **other)  # type: ignore[arg-type]


def route(framework: str) -> Scenario:
    """A JSON route of a framework; what it says of spaces is its own affair."""
    item = {"id": 7, "name": "anvil", "price": 12.5, "tags": ["iron", "heavy"]}
    body = json.dumps(item).encode()
    if framework == "flask":
        body = json.dumps(item, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    head = (("Content-Type", "application/json"),)
    return Scenario(
        framework,
        f"A {framework.capitalize()} route",
        f"GET /items/7 answered with JSON by {framework.capitalize()}, connections kept.",
        measures.steady,
        Right(body, head),
        Wanted(f"{framework}_route:app", floor=Floor(body, head)),
        Asking(path="/items/7"),
        checks=() if framework == "falcon" else (checks.ends_responses,),
    )


def upload(name: str, title: str, size: int) -> Scenario:
    """A POST whose body the app reads."""
    body = filler(name, size)
    return Scenario(
        name,
        title,
        f"The app reads {size >> 10} KiB by read() and answers how many bytes there were.",
        measures.steady,
        Right(b"%d" % size, PLAIN),
        Wanted("plain:upload"),
        Asking("POST", body=body, headers=(("Content-Type", "application/octet-stream"),)),
        checks=(checks.digests,),
        connections=32 if size < 1 << 20 else 8,
    )


def file(name: str, title: str, app: str, source: str) -> Scenario:
    """A file by wsgi.file_wrapper; by wsgiref's where the server has none."""
    return Scenario(
        name,
        title,
        "By the server's wsgi.file_wrapper, by a generator where it has none; the length is set.",
        measures.steady,
        Right(content(source), BINARY),
        Wanted(app, floor=Floor(head=BINARY, file=source)),
        connections=32 if FILES[source] < 1 << 20 else 8,
    )


def with_idle(count: int) -> Scenario:
    """Hello beside connections that are kept and ask nothing."""
    return hello(
        f"idle-{count}",
        f"{count:,} idle connections",
        f"What each of {count:,} kept connections costs that has been answered once and asks "
        "nothing more, and what is left of the throughput of hello by 32 others beside them.",
        measure=measures.idle,
        wanted=Wanted(connections=count, needs=KEPT, floor=HELLO_FLOOR),
        metrics=("kib", "kept", "rps", "p50", "p99", "p999", "cpu", "pss"),
        main="kib",
    )


def with_connections(count: int) -> Scenario:
    """Hello by so many kept connections."""
    return hello(
        f"connections-{count}",
        f"{count:,} connection{'s' if count > 1 else ''}",
        "Hello, connections kept: how the cost grows with their number.",
        connections=count,
        wanted=Wanted(needs=KEPT, floor=HELLO_FLOOR),
    )


def with_workers(count: int) -> Scenario:
    """Hello with so many workers, on all cores."""
    return hello(
        f"workers-{count}",
        f"{count} worker{'s' if count > 1 else ''}",
        "Hello by 64 kept connections; nothing is pinned, so that workers and client share the "
        "cores.",
        connections=64,
        wanted=Wanted(workers=count, floor=HELLO_FLOOR),
        shared=True,
    )


def spread(count: int, closes: bool) -> Scenario:
    """How even the load of so many workers is."""
    how = "a connection each" if closes else "connections kept"
    return hello(
        f"spread-{count}{'-close' if closes else ''}",
        f"Spread over {count} workers, {how}",
        "The CPU time of the busiest worker as a multiple of an even share, 64 connections: at "
        "full load, and when each of them pauses 100 ms between two requests. Nothing is pinned.",
        measure=measures.spread,
        connections=64,
        asking=Asking(headers=(("Connection", "close"),)) if closes else Asking(),
        checks=(checks.closes,) if closes else (),
        wanted=Wanted(workers=count, needs=frozenset() if closes else KEPT),
        metrics=("busiest", "busiest_low", "rps", "p50", "p99", "p999", "cpu", "pss"),
        main="busiest",
        shared=True,
    )


def memory(app: str, preload: bool) -> Scenario:
    """What four workers take."""
    of = "hello" if app == SMALLEST else "Flask"
    told = "imported before the fork" if preload else "imported by each worker"
    source = hello("", "", "") if of == "hello" else route("flask")
    return replace(
        source,
        name=f"memory-{of.lower()}{'-preload' if preload else ''}",
        title=f"Memory of 4 workers, {of}, {told}",
        about="PSS of the whole tree: pages that its processes share count once.",
        measure=measures.memory,
        wanted=Wanted(app, workers=4, preload=preload, floor=source.wanted.floor),
        checks=(),
        connections=64,
        metrics=("idle", "loaded"),
        main="idle",
        shared=True,
    )


def startup(app: str) -> Scenario:
    """How soon four workers answer."""
    of = "hello" if app == SMALLEST else "Flask"
    source = hello("", "", "") if of == "hello" else route("flask")
    return replace(
        source,
        name=f"startup-{of.lower()}",
        title=f"Start-up with 4 workers, {of}",
        about="From the exec to the first right answer, and the CPU time until then; the app is "
        "imported when each server does it by default.",
        measure=measures.startup,
        wanted=Wanted(app, workers=4, floor=source.wanted.floor),
        checks=(),
        metrics=("start", "start_cpu"),
        main="start",
        shared=True,
    )


def all_scenarios() -> tuple[Scenario, ...]:
    """In the order of the report."""
    cores = len(AVAILABLE)
    return (
        hello(
            "hello",
            "Hello, connections kept",
            "The smallest app, 32 connections with a request under way on each.",
        ),
        hello(
            "hello-close",
            "Hello, a connection each",
            "The same, but for `Connection: close`.",
            asking=Asking(headers=(("Connection", "close"),)),
            checks=(checks.closes,),
        ),
        Scenario(
            "browser",
            "As a browser asks",
            "Twelve fields with a cookie; 4 KiB of HTML with the fields that frameworks set.",
            measures.steady,
            Right(PAGE, PAGE_HEAD),
            Wanted("plain:page", floor=Floor(PAGE, PAGE_HEAD)),
            Asking(headers=BROWSER),
            checks=(checks.echoes,),
        ),
        Scenario(
            "answer-4k",
            "An answer of 4 KiB",
            "In one piece, its length set.",
            measures.steady,
            Right(PAGE, HTML),
            Wanted("plain:answer_4k", floor=Floor(PAGE, HTML)),
        ),
        Scenario(
            "answer-100k",
            "An answer of 100 KiB",
            "In one piece, its length set.",
            measures.steady,
            Right(LARGE, PLAIN),
            Wanted("plain:answer_100k", floor=Floor(LARGE, PLAIN)),
        ),
        route("flask"),
        route("django"),
        route("falcon"),
        upload("post-16k", "POST of 16 KiB", 16 << 10),
        upload("post-1m", "POST of 1 MiB", 1 << 20),
        Scenario(
            "stream",
            "A stream",
            "64 pieces of 16 KiB from an iterator, without a length.",
            measures.steady,
            Right(CHUNK * CHUNKS, BINARY, length=False),
            Wanted("plain:stream"),
            connections=8,
        ),
        file("file-20k", "A file of 20 KiB", "plain:file_20k", "20k.bin"),
        file("file-10m", "A file of 10 MiB", "plain:file_10m", "10m.bin"),
        Scenario(
            "static",
            "A static file",
            "20 KiB from a directory that the server serves without the app.",
            measures.steady,
            # How it says where the file ends is its own affair: no app has set a length.
            Right(content("20k.bin"), length=False),
            Wanted(needs=frozenset({"static"}), floor=Floor(head=BINARY, file="20k.bin")),
            Asking(path="/static/20k.bin"),
        ),
        Scenario(
            "threads",
            "An app that waits for 10 ms, 8 threads",
            "One worker; 800 requests a second are the ideal.",
            measures.steady,
            HELLO_RIGHT,
            Wanted("plain:sleeps", threads=8),
        ),
        Scenario(
            "mixed",
            "One slow request among quick ones",
            "Two workers of one thread. Requests of 1 ms, 500 a second, a quarter of what the two "
            "can do, by 16 kept connections; beside them one request after another that takes a "
            "second, with 100 ms between, on 8 kept connections in turn. A quick one's time counts "
            "from when it is due.",
            measures.mixed,
            HELLO_RIGHT,
            Wanted("plain:mixed", workers=2),
            metrics=("waited", "p50", "p99", "p999", "rps", "cpu", "pss"),
            main="waited",
            shared=True,
        ),
        Scenario(
            "computing",
            "Beside a thread that computes",
            "Hello while a thread of the app computes in Python without end.",
            measures.steady,
            HELLO_RIGHT,
            Wanted("plain:computing", needs=frozenset({"background"})),
            checks=(checks.computes,),
            main="rps",
        ),
        Scenario(
            "pipelined",
            "16 requests at once",
            "Pipelined; wrk tells no latencies of these that could be believed.",
            measures.steady,
            Right(b" " * 14, PLAIN),
            Wanted(
                "plain:numbered",
                needs=frozenset({"keep-alive", "pipelining"}),
                floor=Floor(b" " * 14, PLAIN),
            ),
            checks=(checks.pipelines,),
            pipelined=16,
            metrics=("rps", "cpu", "pss"),
        ),
        hello(
            "tls",
            "Hello over TLS",
            "TLS as the server speaks it by default, connections kept.",
            wanted=Wanted(needs=frozenset({"tls"}), floor=HELLO_FLOOR),
        ),
        hello(
            "half-load",
            "Hello at half load",
            "Half of the requests a second that the server can answer, by connections that pause "
            "10 ms on average between two.",
            measure=measures.half,
            wanted=Wanted(needs=KEPT, floor=HELLO_FLOOR),
            metrics=STEADY,
            main="p99",
        ),
        with_idle(2_000),
        with_idle(10_000),
        *(with_connections(count) for count in (1, 16, 128, 1024)),
        *(with_workers(count) for count in sorted({1, 2, cores})),
        *(spread(count, closes) for count in (2, 4, 8) for closes in (False, True)),
        startup(SMALLEST),
        startup("flask_route:app"),
        memory(SMALLEST, preload=False),
        memory(SMALLEST, preload=True),
        memory("flask_route:app", preload=False),
        memory("flask_route:app", preload=True),
    )
