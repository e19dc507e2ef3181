"""Starts a server that is a library and has no command of its own, or none with what is needed.

    serve.py bjoern|fastwsgi|gevent|waitress|cheroot MODULE:APP PORT [options]

Each as its documentation says; what is forked here is forked as bjoern's says, from one process
that listens. The app is imported before the fork with --preload, after it without.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
BACKLOG = 2048


def load(spec: str) -> Any:
    """The app of MODULE:APP."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def fork(workers: int, run: Callable[[], None]) -> None:
    """Runs it in so many children; in this process if one is enough."""
    if workers == 1:
        return run()
    for _ in range(workers):
        if os.fork() == 0:
            run()
            os._exit(0)
    for _ in range(workers):
        os.wait()


def listener(port: int) -> socket.socket:
    """A socket for a server that takes one."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    bound.listen(BACKLOG)
    return bound


def bjoern(options: argparse.Namespace) -> None:
    import bjoern

    bound = bjoern.bind_and_listen(HOST, options.port, listen_backlog=BACKLOG)
    app = load(options.app) if options.preload else None
    fork(options.workers, lambda: bjoern.server_run(bound, app or load(options.app)))


def fastwsgi(options: argparse.Namespace) -> None:
    import fastwsgi

    server = fastwsgi.server
    server.backlog = BACKLOG
    server.tcp_nodelay = int(options.nodelay)
    if options.workers == 1 or options.preload:
        server.init(load(options.app), HOST, options.port, workers=options.workers)
        server.run()
        return

    def run() -> None:
        # The same as its own workers, but for when the app is imported.
        server.init(load(options.app), HOST, options.port)
        server.run()

    fork(options.workers, run)


def gevent(options: argparse.Namespace) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    bound = (HOST, options.port)
    tls = {}
    if options.tls:
        tls = {
            "certfile": str(options.tls / "server.crt"),
            "keyfile": str(options.tls / "server.key"),
        }
    WSGIServer(bound, load(options.app), log=None, backlog=BACKLOG, **tls).serve_forever()


def waitress(options: argparse.Namespace) -> None:
    import logging

    from waitress import serve

    logging.getLogger("waitress").setLevel(logging.ERROR)
    serve(
        load(options.app),
        sockets=[listener(options.port)],
        threads=options.threads,
        connection_limit=max(1000, options.connections + 100),
        channel_timeout=600,
        asyncore_use_poll=True,
    )


def cheroot(options: argparse.Namespace) -> None:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    server = Server(
        (HOST, options.port),
        load(options.app),
        numthreads=options.threads,
        max=options.threads,
        request_queue_size=BACKLOG,
        timeout=600 if options.connections else 10,
    )
    server.keep_alive_conn_limit = max(1000, options.connections + 100)
    if options.tls:
        server.ssl_adapter = BuiltinSSLAdapter(
            str(options.tls / "server.crt"), str(options.tls / "server.key")
        )
    server.start()


SERVERS = {each.__name__: each for each in (bjoern, fastwsgi, gevent, waitress, cheroot)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("app")
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--connections", type=int, default=0, help="idle ones to be kept")
    parser.add_argument("--preload", action="store_true")
    parser.add_argument("--nodelay", action="store_true")
    parser.add_argument("--tls", type=Path)
    options = parser.parse_args()
    SERVERS[options.server](options)


if __name__ == "__main__":
    main()
