"""A Flask app with one JSON route and an argument in its path."""

from __future__ import annotations

from flask import Flask, Response, jsonify

app = Flask(__name__)


@app.get("/items/<int:number>")
def item(number: int) -> Response:
    return jsonify(id=number, name="anvil", price=12.5, tags=["iron", "heavy"])
