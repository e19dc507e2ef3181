"""What the deployed module `shop` of the measurements and of the chaos is made of. It runs under
any WSGI server: it tells its version and its process, and can be made to trouble at import or in a
request.
"""

import ctypes
import os
import resource
import signal
import threading
import time


def make(version, trouble=""):
    """The app, after the trouble asked for."""
    if trouble == "is slow":
        time.sleep(4)
    if trouble == "hangs":
        threading.Event().wait()
    if trouble == "has a thread":
        threading.Thread(target=threading.Event().wait).start()
    directory = os.environ.get("TEST_DIR", ".")
    with open(os.path.join(directory, "imports"), "a") as file:
        file.write(f"{version} {os.getpid()}\n")

    def app(environ, start_response):
        make_trouble = TROUBLES.get(environ["PATH_INFO"])
        if make_trouble is not None:
            make_trouble(environ["QUERY_STRING"])
        if environ["REQUEST_METHOD"] == "POST":
            environ["wsgi.input"].read()
        large = environ["PATH_INFO"] == "/large"
        body = bytes(4 << 20) if large else f"{version} {os.getpid()}".encode()
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        )
        return [body]

    return app


def run_out_of_memory(_):
    """A MemoryError, as a limit on the address space gives it; the limit is lifted again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), hard))
    try:
        bytearray(256 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


TROUBLES = {
    "/wait": lambda query: time.sleep(float(query)),
    "/stuck": lambda _: threading.Event().wait(),
    "/segfault": lambda _: ctypes.string_at(0),
    "/abort": lambda _: os.abort(),
    "/exit": lambda _: os._exit(7),
    "/kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "/memory": run_out_of_memory,
}
