"""A Bottle app: a page from a template, and a stream of lines, each sent as soon as it is made."""

import contextlib
import os
import time

from bottle import Bottle, response, template

LINES = 5

app = Bottle()


@app.get("/")
def index():
    return "Hello from Bottle on Ironhorn!\n"


@app.get("/hello/<name>")
def hello(name):
    return template("<p>Hello, {{name}}!</p>\n", name=name)


@app.get("/stream")
def stream():
    response.content_type = "text/plain; charset=utf-8"
    return lines(os.environ.get("STREAMING_GATE"))


def lines(gate):
    """Yields lines: one for each byte that comes through the FIFO `gate`, else by the clock."""
    with open(gate, "rb", buffering=0) if gate else contextlib.nullcontext() as fifo:
        for number in range(1, LINES + 1):
            if fifo:
                fifo.read(1)
            else:
                time.sleep(0.2)
            yield f"line {number}\n"
