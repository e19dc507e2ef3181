"""Serves one request by the `ironhorn` that is installed beside this Python, and stops it.

The only argument is a directory to work in. Exits with 1 and says why if that goes wrong.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"it works\\n"]
"""


def main() -> None:
    directory = Path(sys.argv[1])
    (directory / "tried.py").write_text(APP)
    address = directory / "sock"
    command = [str(Path(sys.executable).with_name("ironhorn")), "--bind", f"unix:{address}"]
    server = subprocess.Popen(
        [*command, "--workers=2", "tried:app"], cwd=directory, stderr=subprocess.PIPE, text=True
    )
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
        code = server.wait(20)
    if code:
        sys.exit(f"it ended with {code}")


def ask(address: os.PathLike[str]) -> bytes:
    """The body of the answer over a unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(os.fspath(address))
    connection.request("GET", "/")
    return connection.getresponse().read()


main()
