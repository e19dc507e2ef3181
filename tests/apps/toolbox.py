"""One app with a behaviour for each path, for tests of the server around it."""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from urllib.parse import parse_qs

from meeting import meet, note


def text(start_response, body, *fields, status="200 OK"):
    start_response(
        status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *fields]
    )
    return [body]


def hello(environ, start_response):
    return text(start_response, b"hello\n")


def pid(environ, start_response):
    return text(start_response, b"%d\n" % os.getpid())


def environ_as_json(environ, start_response):
    seen = {
        key: value if isinstance(value, (str, bool, int)) else repr(value)
        for key, value in environ.items()
    }
    return text(start_response, json.dumps(seen).encode())


def echo(environ, start_response):
    return text(start_response, environ["wsgi.input"].read())


def digest(environ, start_response):
    """Reads in pieces, so that a big body is never whole in the app's memory."""
    total, sha = 0, hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        total += len(piece)
        sha.update(piece)
    return text(start_response, f"{total} {sha.hexdigest()}".encode())


def unread(environ, start_response):
    return text(start_response, b"not read\n")


def meeting(environ, start_response):
    """Waits at the gate named by the query before it answers."""
    meet(environ["QUERY_STRING"])
    return text(start_response, b"passed\n")


def stream(environ, start_response):
    """Yields so many chunks, each after the gate `stream` was passed."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for index in range(int(environ["QUERY_STRING"])):
        meet("stream")
        yield b"chunk %d\n" % index


def chunks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for index in range(int(environ["QUERY_STRING"])):
        yield b"chunk %d\n" % index


def big(environ, start_response):
    """A body of so many bytes, as one string."""
    return text(start_response, b"x" * int(environ["QUERY_STRING"]))


class Endless:
    """Streams until it is closed, and says when."""

    def __iter__(self):
        return self

    def __next__(self):
        return b"y" * 65536

    def close(self):
        note("closed", "endless")


def endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Endless()


def status(environ, start_response):
    """Answers with the status in the query, and a body where the app may give one."""
    code = environ["QUERY_STRING"]
    if code in ("204", "304"):
        start_response(f"{code} Nothing", [("X-App", "yes")])
        return []
    return text(start_response, b"body\n", status=f"{code} Some Reason")


def wait(environ, start_response):
    """Takes the seconds of the query, as a slow database would."""
    time.sleep(float(environ["QUERY_STRING"]))
    return text(start_response, b"waited\n")


def spin(environ, start_response):
    """Never returns, in Python code."""
    while True:
        pass


def hold(environ, start_response):
    """Never returns, in C code that holds the GIL and that no signal interrupts."""
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def slow_chunks(environ, start_response):
    """A chunk every 0.4 s, for 2 s."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(5):
        time.sleep(0.4)
        yield b"slow\n"


def leave(environ, start_response):
    os._exit(7)


def segfault(environ, start_response):
    ctypes.string_at(0)


def fail(environ, start_response):
    raise ValueError("the app failed on purpose")


def fail_late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first\n"
    raise ValueError("the app failed late on purpose")


def system_exit(environ, start_response):
    sys.exit(3)


def errors(environ, start_response):
    environ["wsgi.errors"].write("said by the app\n")
    environ["wsgi.errors"].flush()
    return text(start_response, b"ok\n")


def fields(environ, start_response):
    """Adds the fields of the query (a=b&c=d) to the response."""
    extra = [
        (name, value)
        for name, values in parse_qs(environ["QUERY_STRING"]).items()
        for value in values
    ]
    return text(start_response, b"ok\n", *extra)


def environment(environ, start_response):
    """The process as the app sees it."""
    mask = os.umask(0)
    os.umask(mask)
    seen = {
        "cwd": os.getcwd(),
        "path": sys.path,
        "umask": mask,
        "env": dict(os.environ),
        "argv": sys.argv,
    }
    return text(start_response, json.dumps(seen).encode())


def own_signal(environ, start_response):
    """A handler of the app's own runs in the worker."""
    caught = []
    before = signal.signal(signal.SIGALRM, lambda *_: caught.append("SIGALRM"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    end = time.monotonic() + 5
    while not caught and time.monotonic() < end:
        signal.pause()
    signal.signal(signal.SIGALRM, before)
    return text(start_response, " ".join(caught).encode())


PATHS = {
    "/": hello,
    "/hello": hello,
    "/pid": pid,
    "/environ": environ_as_json,
    "/echo": echo,
    "/digest": digest,
    "/unread": unread,
    "/meet": meeting,
    "/stream": stream,
    "/chunks": chunks,
    "/big": big,
    "/endless": endless,
    "/status": status,
    "/wait": wait,
    "/spin": spin,
    "/hold": hold,
    "/slow-chunks": slow_chunks,
    "/exit": leave,
    "/segfault": segfault,
    "/fail": fail,
    "/fail-late": fail_late,
    "/system-exit": system_exit,
    "/errors": errors,
    "/fields": fields,
    "/environment": environment,
    "/own-signal": own_signal,
}


def app(environ, start_response):
    found = PATHS.get(environ["PATH_INFO"])
    if found is None:
        return text(start_response, b"no such path\n", status="404 Not Found")
    return found(environ, start_response)
