"""The barest WSGI app: one answer to every request."""

BODY = b"Hello from Ironhorn!\n"


def app(environ, start_response):
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(BODY))),
        ],
    )
    return [BODY]
