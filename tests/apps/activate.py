"""Starts a program as systemd starts a service with sockets: listening, from descriptor 3 on.

`activate.py PORTFILE [PATH…] -- COMMAND…`: a TCP socket whose port is written to PORTFILE, and a
unix socket for each PATH.
"""

import os
import socket
import sys


def main():
    split = sys.argv.index("--")
    port_file, *paths = sys.argv[1:split]
    tcp = socket.create_server(("127.0.0.1", 0))
    with open(port_file, "w") as file:
        file.write(str(tcp.getsockname()[1]))
    sockets = [tcp]
    for path in paths:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        sockets.append(listener)
    # Out of the way first: one may be where another is to go.
    copies = [os.dup2(listener.fileno(), 100 + n) for n, listener in enumerate(sockets)]
    for number, copy in enumerate(copies, 3):
        os.dup2(copy, number)
        os.close(copy)
    os.environ.update(
        LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES="web"
    )
    command = sys.argv[split + 1 :]
    os.execvp(command[0], command)


main()
