"""A WSGI app that reads what it is sent, in pieces, and answers its size and SHA-256."""

import hashlib
import json

PIECE = 64 * 1024


def app(environ, start_response):
    if environ["REQUEST_METHOD"] not in ("POST", "PUT"):
        advice = {"error": "send a body with POST or PUT"}
        return answer(start_response, "405 Method Not Allowed", advice, [("Allow", "POST, PUT")])
    size, digest = 0, hashlib.sha256()
    while piece := environ["wsgi.input"].read(PIECE):
        size += len(piece)
        digest.update(piece)
    return answer(start_response, "200 OK", {"size": size, "sha256": digest.hexdigest()})


def answer(start_response, status, content, fields=()):
    body = json.dumps(content).encode() + b"\n"
    start_response(
        status,
        [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *fields],
    )
    return [body]
