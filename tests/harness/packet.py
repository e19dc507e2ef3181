"""The uwsgi protocol from the client's side: the packet that a request begins with."""

from __future__ import annotations

from collections.abc import Iterable

Variable = tuple[str, str]


def packed(variables: Iterable[Variable], modifier1: int = 0, size: int | None = None) -> bytes:
    """The packet of these variables, or one that lies about its size."""
    block = b"".join(
        len(text).to_bytes(2, "little") + text
        for variable in variables
        for text in (part.encode("latin-1") for part in variable)
    )
    said = len(block) if size is None else size
    return bytes([modifier1]) + said.to_bytes(2, "little") + b"\0" + block


def packet(method: str, uri: str, *more: Variable, body: bytes | None = None) -> bytes:
    """A request as nginx sends it; a variable of `more` is sent in place of its own."""
    path, _, query = uri.partition("?")
    variables = {
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "" if body is None else str(len(body)),
        "REQUEST_URI": uri,
        "PATH_INFO": path,
        "DOCUMENT_ROOT": "/usr/share/nginx/html",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "40000",
        "SERVER_PORT": "80",
        "SERVER_NAME": "example.org",
        "HTTP_HOST": "example.org",
    }
    return packed({**variables, **dict(more)}.items()) + (body or b"")
