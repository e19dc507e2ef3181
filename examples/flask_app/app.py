"""A Flask app: JSON in and out, and an upload form."""

import hashlib

from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024 * 1024


@app.get("/")
def index():
    return jsonify(message="Hello from Flask on Ironhorn!")


@app.post("/sum")
def add_up():
    numbers = request.get_json()["numbers"]
    return jsonify(sum=sum(numbers), count=len(numbers))


@app.post("/upload")
def upload():
    file = request.files["file"]
    size, digest = 0, hashlib.sha256()
    while piece := file.stream.read(64 * 1024):
        size += len(piece)
        digest.update(piece)
    return jsonify(name=file.filename, size=size, sha256=digest.hexdigest()), 201


@app.errorhandler(HTTPException)
def refuse(error):
    return jsonify(error=error.name), error.code
