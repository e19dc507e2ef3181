"""Small apps, one a clause of PEP 3333; /valid/NAME runs one under wsgiref.validate."""

import io
import os
import sys
from wsgiref.validate import validator

from meeting import meet, note

PLAIN = [("Content-Type", "text/plain")]
APPS = {}
FILE = os.path.join(os.environ.get("TEST_DIR", "."), "file")


def named(app):
    APPS[app.__name__] = app
    return app


class Body:
    """An iterable that counts its close() calls in the file named by the query."""

    def __init__(self, environ, chunks):
        self._name = environ["QUERY_STRING"]
        self._chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._chunks)

    def close(self):
        note(self._name, "closed")


def answer(start_response, text, *fields):
    body = text.encode()
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body))), *fields])
    return [body]


# -- the iterable ----------------------------------------------------------------------------------


@named
def one_item_list(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return [b"one item"]


@named
def one_item_tuple(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return (b"one item",)


@named
def two_items(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return [b"two ", b"items"]


@named
def empty_list(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return []


@named
def empty_items(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return iter([b"", b"", b"late", b""])


@named
def generator(environ, start_response):
    """start_response is called by the first next(), as PEP 3333 allows."""
    start_response("200 OK", PLAIN[:])
    yield b"a"
    yield b"b"


@named
def late_start(environ, start_response):
    """Empty strings may come before start_response, a non-empty one not."""
    yield b""
    yield b""
    start_response("200 OK", PLAIN[:])
    yield b"late"


@named
def subclasses(environ, start_response):
    class Bytes(bytes):
        pass

    class List(list):
        pass

    start_response("200 OK", PLAIN[:])
    return List([Bytes(b"sub"), Bytes(b"class")])


@named
def own_iterator(environ, start_response):
    """Only __getitem__, the old sequence protocol."""

    class Old:
        def __getitem__(self, index):
            if index == 3:
                raise IndexError
            return b"%d" % index

    start_response("200 OK", PLAIN[:])
    return Old()


@named
def generator_return(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "0")])
    return
    yield


@named
def no_start_response(environ, start_response):
    return [b"no head"]


@named
def chunk_before_start(environ, start_response):
    yield b"too early"
    start_response("200 OK", PLAIN[:])


@named
def returns_none(environ, start_response):
    start_response("200 OK", PLAIN[:])


@named
def str_chunk(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return ["text"]


@named
def str_chunk_late(environ, start_response):
    start_response("200 OK", PLAIN[:])
    yield b"bytes"
    yield "text"


@named
def int_chunk(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return iter([7])


# -- close() ---------------------------------------------------------------------------------------


@named
def closes(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return Body(environ, [b"a", b"b"])


@named
def closes_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "2")])
    return Body(environ, [b"a", b"b", b"beyond"])


@named
def closes_empty(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return Body(environ, [])


@named
def closes_without_start(environ, start_response):
    return Body(environ, [b"a"])


@named
def closes_bad_chunk(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return Body(environ, [b"a", "text"])


@named
def closes_after_error(environ, start_response):
    start_response("200 OK", PLAIN[:])

    def chunks():
        yield b"first"
        raise ValueError("on purpose, in the iterable")

    return Body(environ, chunks())


@named
def closes_after_error_before_head(environ, start_response):
    def chunks():
        raise ValueError("on purpose, before the head")
        yield

    return Body(environ, chunks())


@named
def closes_endless(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return Body(environ, iter(lambda: b"x" * 65536, None))


@named
def closes_raising(environ, start_response):
    class Raising(Body):
        def close(self):
            super().close()
            raise ValueError("on purpose, in close")

    start_response("200 OK", PLAIN[:])
    return Raising(environ, [b"a"])


@named
def generator_finally(environ, start_response):
    start_response("200 OK", PLAIN[:])
    try:
        while True:
            yield b"x" * 65536
    finally:
        note(environ["QUERY_STRING"], "closed")


# -- start_response --------------------------------------------------------------------------------


@named
def started_twice(environ, start_response):
    start_response("200 OK", PLAIN[:])
    start_response("201 Created", PLAIN[:])
    return [b"twice"]


@named
def exc_info_before_head(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    try:
        raise ValueError("on purpose")
    except ValueError:
        start_response("503 Sorry", [*PLAIN, ("X-Second", "2")], sys.exc_info())
    return [b"replaced"]


@named
def exc_info_after_head(environ, start_response):
    start_response("200 OK", PLAIN[:])
    yield b"sent"
    try:
        raise ValueError("on purpose, after the head")
    except ValueError:
        start_response("503 Sorry", PLAIN[:], sys.exc_info())
    yield b"never"


@named
def exc_info_at_first(environ, start_response):
    try:
        raise ValueError("on purpose")
    except ValueError:
        start_response("500 Oh", PLAIN[:], sys.exc_info())
    return [b"oh"]


@named
def mutates_headers(environ, start_response):
    """What the app does to its list after the call is its own affair."""
    fields = PLAIN[:]
    start_response("200 OK", fields)
    fields.append(("X-Late", "1"))
    return [b"x"]


def start_with(status="200 OK", fields=()):
    def app(environ, start_response):
        start_response(status, list(fields))
        return [b"started"]

    return app


BAD_STARTS = {
    "status_int": start_with(status=200),
    "status_bytes": start_with(status=b"200 OK"),
    "status_short": start_with(status="20"),
    "status_text": start_with(status="OK"),
    "status_crlf": start_with(status="200 OK\r\nX-Injected: 1"),
    "status_lf": start_with(status="200 OK\nX-Injected: 1"),
    "status_interim": start_with(status="101 Switching Protocols"),
    "name_crlf": start_with(fields=[("X-A\r\nX-Injected", "1")]),
    "name_space": start_with(fields=[("X A", "1")]),
    "name_colon": start_with(fields=[("X-A:", "1")]),
    "name_empty": start_with(fields=[("", "1")]),
    "value_crlf": start_with(fields=[("X-A", "a\r\nX-Injected: 1")]),
    "value_lf": start_with(fields=[("X-A", "a\nX-Injected: 1")]),
    "value_cr": start_with(fields=[("X-A", "a\rX-Injected: 1")]),
    "value_nul": start_with(fields=[("X-A", "a\0b")]),
    "value_control": start_with(fields=[("X-A", "a\x1bb")]),
    "value_not_latin1": start_with(fields=[("X-A", "\u20ac")]),
    "value_int": start_with(fields=[("X-A", 1)]),
    "value_bytes": start_with(fields=[("X-A", b"1")]),
    "value_none": start_with(fields=[("X-A", None)]),
    "triple": start_with(fields=[("X-A", "1", "2")]),
    "fields_none": lambda environ, start_response: start_response("200 OK", None) and [],
    "connection": start_with(fields=[("Connection", "close")]),
    "keep_alive": start_with(fields=[("Keep-Alive", "5")]),
    "transfer_encoding": start_with(fields=[("transfer-encoding", "chunked")]),
    "te": start_with(fields=[("TE", "trailers")]),
    "trailer": start_with(fields=[("Trailer", "X")]),
    "upgrade": start_with(fields=[("Upgrade", "h2c")]),
    "proxy_authenticate": start_with(fields=[("Proxy-Authenticate", "Basic")]),
    "length_text": start_with(fields=[("Content-Length", "many")]),
    "length_negative": start_with(fields=[("Content-Length", "-1")]),
    "length_twice": start_with(fields=[("Content-Length", "7"), ("Content-Length", "8")]),
}
APPS.update({f"bad_{name}": app for name, app in BAD_STARTS.items()})


@named
def latin1_value(environ, start_response):
    return answer(start_response, "x", ("X-Latin", "caf\xe9"), ("X-Tab", "a\tb"), ("X-Empty", ""))


@named
def status_without_reason(environ, start_response):
    start_response("299 ", [("Content-Length", "0")])
    return []


# -- write() ---------------------------------------------------------------------------------------


@named
def write(environ, start_response):
    send = start_response("200 OK", PLAIN[:])
    send(b"written ")
    send(b"")
    send(b"twice ")
    return [b"and returned"]


@named
def write_is_sent_at_once(environ, start_response):
    send = start_response("200 OK", PLAIN[:])
    send(b"before")
    meet("write")
    return [b"after"]


@named
def write_str(environ, start_response):
    start_response("200 OK", PLAIN[:])("text")
    return []


@named
def write_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])(b"1234567")
    return []


# -- Content-Length --------------------------------------------------------------------------------


@named
def too_long(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"123", b"4567", b"89"]


@named
def too_long_at_once(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"123456789"]


@named
def too_short(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    return [b"123"]


@named
def too_short_stream(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    yield b"12"
    yield b"3"


# -- wsgi.input ------------------------------------------------------------------------------------


@named
def read_all(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(
        start_response, repr([stream.read(), stream.read(), stream.read(5), stream.readline()])
    )


@named
def read_sizes(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(start_response, repr([stream.read(n) for n in (0, 1, 2, 100, 1)]))


@named
def read_default_sizes(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(start_response, repr([stream.read(2), stream.read(-1), stream.read(None)]))


@named
def read_lines(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(
        start_response,
        repr([stream.readline(), stream.readline(2), stream.readline(-1), stream.readline()]),
    )


@named
def read_readlines(environ, start_response):
    return answer(start_response, repr(environ["wsgi.input"].readlines()))


@named
def read_readlines_hint(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(start_response, repr([stream.readlines(3), stream.readlines()]))


@named
def read_iteration(environ, start_response):
    return answer(start_response, repr(list(environ["wsgi.input"])))


@named
def read_mixed(environ, start_response):
    stream = environ["wsgi.input"]
    return answer(
        start_response, repr([stream.read(1), next(iter(stream)), stream.readline(), stream.read()])
    )


@named
def read_wrapped(environ, start_response):
    """What frameworks do: a buffered text reader on top."""
    reader = io.BufferedReader(_Raw(environ["wsgi.input"]))
    return answer(start_response, repr(reader.read()))


class _Raw(io.RawIOBase):
    def __init__(self, stream):
        self._stream = stream

    def readable(self):
        return True

    def readinto(self, target):
        data = self._stream.read(len(target))
        target[: len(data)] = data
        return len(data)


# -- the rest --------------------------------------------------------------------------------------


@named
def kinds(environ, start_response):
    """What the environ is made of."""
    odd = [
        f"{key}: {type(value).__name__}"
        for key, value in environ.items()
        if key.isupper() and type(value) is not str
    ]
    environ["own.key"] = "may be modified"
    return answer(
        start_response,
        repr([type(environ).__name__, odd, isinstance(environ["wsgi.version"], tuple)]),
    )


@named
def counted(environ, start_response):
    """The environ is new for each request."""
    known = "counted.before" in environ
    environ["counted.before"] = True
    return answer(start_response, str(known))


@named
def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("a line\nand ")
    stream.writelines(["one of ", "pieces\n"])
    print("printed", 7, file=stream)
    stream.write("caf\xe9 \u20ac \x1b[31m\n")
    stream.flush()
    return answer(start_response, "ok")


@named
def errors_unfinished(environ, start_response):
    environ["wsgi.errors"].write("no newline at the end")
    return answer(start_response, "ok")


@named
def early_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return answer(start_response, "hinted")


@named
def early_hints_bad(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "a\r\nX-Injected: 1")])
    return answer(start_response, "hinted")


@named
def raises(environ, start_response):
    raise ValueError("on purpose")


@named
def raises_after_start(environ, start_response):
    start_response("200 OK", PLAIN[:])
    raise ValueError("on purpose, after start_response")


@named
def raises_system_exit(environ, start_response):
    raise SystemExit(3)


@named
def raises_keyboard_interrupt(environ, start_response):
    raise KeyboardInterrupt


@named
def raises_unprintable(environ, start_response):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    raise Unprintable


def wrap(environ, stream, *block):
    return environ["wsgi.file_wrapper"](stream, *block)


@named
def file(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return wrap(environ, open(FILE, "rb"))


@named
def file_block_size(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return wrap(environ, open(FILE, "rb"), 1000)


@named
def file_from_offset(environ, start_response):
    stream = open(FILE, "rb")  # noqa: SIM115
    stream.seek(1000)
    start_response("200 OK", PLAIN[:])
    return wrap(environ, stream)


@named
def file_after_read(environ, start_response):
    """The Python object's position counts, not the descriptor's, which is ahead by what was
    buffered.
    """
    stream = open(FILE, "rb")  # noqa: SIM115
    stream.read(10)
    start_response("200 OK", PLAIN[:])
    return wrap(environ, stream)


@named
def file_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "500")])
    return wrap(environ, open(FILE, "rb"))


@named
def file_too_short(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "999999999")])
    return wrap(environ, open(FILE, "rb"))


@named
def file_in_memory(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return wrap(environ, io.BytesIO(b"m" * 100_000))


@named
def file_pipe(environ, start_response):
    """Has a fileno() but cannot be sent by sendfile(2)."""
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    start_response("200 OK", PLAIN[:])
    return wrap(environ, os.fdopen(read, "rb"))


@named
def file_closes(environ, start_response):
    class Noted(io.FileIO):
        def close(self):
            if not self.closed:
                note(environ["QUERY_STRING"], "closed")
            super().close()

    start_response("200 OK", PLAIN[:])
    return wrap(environ, Noted(FILE, "rb"))


@named
def file_iterated(environ, start_response):
    """The wrapper is an iterable of its own, if middleware reads it."""
    start_response("200 OK", PLAIN[:])
    for block in wrap(environ, io.BytesIO(b"i" * 20_000), 8192):
        yield block.upper()


@named
def streamed(environ, start_response):
    start_response("200 OK", PLAIN[:])
    for index in range(3):
        meet("chunk")
        yield b"chunk %d" % index


VALID = {name: validator(app) for name, app in APPS.items()}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/valid/"):
        return VALID[path[len("/valid/") :]](environ, start_response)
    return APPS[path[1:]](environ, start_response)
