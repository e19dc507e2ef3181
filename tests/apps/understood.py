"""Answers each request with what it understood of it, as JSON."""

import json

PLAIN = ("CONTENT_TYPE", "CONTENT_LENGTH")


def app(environ, start_response):
    error = None
    try:
        body = environ["wsgi.input"].read()
    except Exception as caught:  # What a server raises when a body breaks off is its own affair.
        body, error = b"", "broken off" if isinstance(caught, OSError) else type(caught).__name__
    understood = {
        "method": environ["REQUEST_METHOD"],
        "target": environ.get("RAW_URI", environ.get("REQUEST_URI")),
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"],
        "fields": {
            name: value
            for name, value in sorted(environ.items())
            if name.startswith("HTTP_") or (name in PLAIN and value)
        },
        "body": body.decode("latin-1"),
        "error": error,
    }
    answer = json.dumps(understood).encode()
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    if environ["REQUEST_METHOD"] == "HEAD":
        fields.append(("X-Understood", answer.decode()))
        answer = b""
    start_response("200 OK", fields)
    return [answer]
