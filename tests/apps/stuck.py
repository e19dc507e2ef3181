"""The toolbox, and ways to be stuck, or long at work, that tests of the timeout need."""

import re
import threading
import time

import toolbox
from meeting import meet, note


def wait_for_work():
    threading.Event().wait()


def with_threads(environ, start_response):
    """Waits for a thread that waits for something else."""
    thread = threading.Thread(target=wait_for_work, name="bystander", daemon=True)
    thread.start()
    thread.join()


def backtrack(environ, start_response):
    """A regular expression that takes ages and holds the GIL."""
    return toolbox.text(start_response, b"%d" % bool(re.match(r"(a+)+$", "a" * 60 + "b")))


def extended(environ, start_response):
    """Asks for so many seconds, then takes so many: `?3,2`."""
    asked, taken = map(float, environ["QUERY_STRING"].split(","))
    environ["ironhorn.extend_timeout"](asked)
    time.sleep(taken)
    return toolbox.text(start_response, b"done\n")


class Noted:
    """A body that is made after the gate, and says when it is closed."""

    def __init__(self, gates):
        self.gates = gates

    def __iter__(self):
        for gate in self.gates:
            meet(gate)
            yield b"chunk\n"

    def close(self):
        note("closed", "noted")


def noted(environ, start_response):
    """Yields a chunk after each gate of the query."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Noted(environ["QUERY_STRING"].split(","))


def written(environ, start_response):
    """Calls write() after the gate, and notes what comes of it."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    meet(environ["QUERY_STRING"])
    try:
        write(b"late")
    except OSError as error:
        note("written", type(error).__name__)
        raise
    return []


PATHS = {
    "/threads": with_threads,
    "/backtrack": backtrack,
    "/extended": extended,
    "/noted": noted,
    "/written": written,
}


def app(environ, start_response):
    return PATHS.get(environ["PATH_INFO"], toolbox.app)(environ, start_response)
