"""The toolbox, and what tests of several threads need."""

import multiprocessing
import os
import signal
import threading

import toolbox
from meeting import meet, note

PARTY = threading.Barrier(int(os.environ.get("PARTY", "8")))

signal.signal(signal.SIGALRM, lambda *_: note("handled", threading.current_thread().name))


def together(environ, start_response):
    """Answers when as many are here as the party has, and says on which thread."""
    PARTY.wait(30)
    return named(environ, start_response)


def named(environ, start_response):
    return toolbox.text(start_response, threading.current_thread().name.encode())


def extended(environ, start_response):
    """Asks for time and then waits at the gate."""
    environ["ironhorn.extend_timeout"](60)
    meet("extended")
    return toolbox.text(start_response, b"in time\n")


def asks(environ, start_response):
    """Asks whether the client is there, before and after a meeting, and in a generator too."""
    gone = environ["ironhorn.client_disconnected"]
    note("asked", f"before {gone()}")
    meet("asks")
    note("asked", f"after {gone()}")
    helper = []
    thread = threading.Thread(target=lambda: helper.append(refused(gone)))
    thread.start()
    thread.join()
    note("asked", f"elsewhere {helper[0]}")
    start_response("200 OK", [])
    yield b"x"
    note("asked", f"generator {gone()}")


def refused(gone):
    try:
        return gone()
    except RuntimeError:
        return "refused"


def measured(environ, start_response):
    """An endless body that notes each MiB that it makes."""
    start_response("200 OK", [])
    while True:
        note("made", "MiB")
        yield b"x" * (1 << 20)


def written(environ, start_response):
    """The same by write()."""
    write = start_response("200 OK", [])
    for _ in range(64):
        note("written", "MiB")
        write(b"x" * (1 << 20))
    return []


def forks(environ, start_response):
    """Has a process do something, as programs do that know nothing of servers."""
    child = multiprocessing.get_context("fork").Process(target=note, args=("forked", "child"))
    child.start()
    child.join()
    return toolbox.text(start_response, str(child.exitcode).encode())


def computes(environ, start_response):
    """Starts a thread that takes all that it gets of the interpreter, to the end of the process."""

    def compute():
        while True:
            sum(range(1000))

    threading.Thread(target=compute, daemon=True).start()
    return toolbox.text(start_response, b"computing\n")


PATHS = {
    "/together": together,
    "/named": named,
    "/extended": extended,
    "/asks": asks,
    "/measured": measured,
    "/written": written,
    "/forks": forks,
    "/computes": computes,
}


def app(environ, start_response):
    return PATHS.get(environ["PATH_INFO"], toolbox.app)(environ, start_response)
