"""A WSGI app that makes its body a chunk at a time; each is sent as soon as it is made."""

import contextlib
import os
import time

CHUNKS = 10


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return chunks(os.environ.get("STREAMING_GATE"))


def chunks(gate):
    """Yields chunks: one for each byte that comes through the FIFO `gate`, else by the clock."""
    with open(gate, "rb", buffering=0) if gate else contextlib.nullcontext() as fifo:
        for number in range(1, CHUNKS + 1):
            if fifo:
                fifo.read(1)
            else:
                time.sleep(0.2)
            yield b"chunk %d of %d\n" % (number, CHUNKS)
