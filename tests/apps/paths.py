"""Answers every path with what the server says of it."""

import json

NAMES = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI")


def app(environ, start_response):
    body = json.dumps({name: environ[name].encode("latin-1").decode() for name in NAMES}).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]
