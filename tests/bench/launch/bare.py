"""The least that the Python side of a request costs: a loop that builds the environ and calls the
app.

    bare.py MODULE:APP SECONDS < request.json

No socket, no parser: what any server adds, it adds to this. Prints the CPU microseconds of a
request. The request is {"path", "query", "method", "headers": {name: value}, "body": latin-1 text}.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from typing import Any
from wsgiref.util import FileWrapper

BATCH = 20


def template(asked: dict[str, Any]) -> dict[str, Any]:
    """All of the environ that is the same for each request of a connection."""
    environ: dict[str, Any] = {
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "bare",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "40000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
    for name, value in asked["headers"].items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
    """Takes the head and forgets it."""


def main() -> None:
    spec, seconds = sys.argv[1], float(sys.argv[2])
    asked = json.load(sys.stdin)
    module, _, name = spec.partition(":")
    app = getattr(importlib.import_module(module), name)
    common, body = template(asked), asked["body"].encode("latin-1")
    method, path, query = asked["method"], asked["path"], asked["query"]
    length = str(len(body)) if body else ""

    def one() -> None:
        environ = common.copy()
        environ["REQUEST_METHOD"] = method
        environ["PATH_INFO"] = path
        environ["RAW_URI"] = path
        environ["QUERY_STRING"] = query
        environ["CONTENT_LENGTH"] = length
        environ["wsgi.input"] = io.BytesIO(body)
        answer = app(environ, start_response)
        for _chunk in answer:
            pass
        close = getattr(answer, "close", None)
        if close is not None:
            close()

    count, end = 0, time.monotonic() + seconds
    one()
    begun = time.process_time_ns()
    while time.monotonic() < end:
        for _ in range(BATCH):
            one()
        count += BATCH
    print((time.process_time_ns() - begun) / 1000 / count)


if __name__ == "__main__":
    main()
