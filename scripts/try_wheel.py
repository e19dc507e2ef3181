"""Serves one request by the `ironhorn` that is installed beside this Python, and stops it.

The only argument is a directory to work in. Exits with 1 and says why if that goes wrong.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE = 60
APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"it works\\n"]
"""


def main() -> None:
    # The path of a socket has to be short.
    os.chdir(sys.argv[1])
    Path("tried.py").write_text(APP)
    address = "sock"
    command = [str(Path(sys.executable).with_name("ironhorn")), "--bind", f"unix:{address}"]
    # Settings of whoever builds have no say here.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("IRONHORN_")}
    server = subprocess.Popen(
        [*command, "--workers=2", "tried:app"],
        env=ours,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Whatever it waits for, it ends then, and says what it has said.
    watchdog = threading.Timer(PATIENCE, server.kill)
    watchdog.start()
    said = []
    try:
        for line in server.stderr or ():
            said.append(line)
            if " serving" in line:
                break
        else:
            sys.exit("".join(said))
        answer = ask(address)
        if answer != b"it works\n":
            sys.exit(f"it answered {answer!r}")
    finally:
        server.terminate()
        code = server.wait()
        watchdog.cancel()
    if code:
        sys.exit(f"it ended with {code}")


def ask(address: str) -> bytes:
    """The body of the answer over a unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(address)
    connection.request("GET", "/")
    return connection.getresponse().read()


main()
