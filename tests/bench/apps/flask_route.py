"""A Flask app with one JSON route and an argument in its path."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
ended: list[None] = []


@app.get("/items/<int:number>")
def item(number: int) -> Response:
    if request.query_string == b"ended":
        response = jsonify(len(ended))
        response.call_on_close(lambda: ended.append(None))
        return response
    return jsonify(id=number, name="anvil", price=12.5, tags=["iron", "heavy"])
