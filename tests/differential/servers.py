"""The servers that are compared, each with the app that tells what it understood."""

from __future__ import annotations

import sys
from pathlib import Path

from reliability.peers import install
from reliability.running import Running
from reliability.servers import Adapter, Gunicorn, Ironhorn, Uwsgi, Wanted


class UwsgiHttp11(Uwsgi):
    """uWSGI's other HTTP parser of its own, which keeps connections."""

    title = "uWSGI, http11-socket"

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        whole = super().command(wanted, port, directory)
        return [word.replace("--http-socket=", "--http11-socket=") for word in whole]


PEERS: dict[str, type[Adapter]] = {
    "gunicorn": Gunicorn,
    "uwsgi-http": Uwsgi,
    "uwsgi-http11": UwsgiHttp11,
}


class Understanding(Running):
    """A server that runs the app `understood`."""

    def deploy(self, version: str, trouble: str = "") -> None:
        self.write("shop.py", "from understood import app\n\n__all__ = ['app']\n")

    def imports(self) -> int:
        return self.wanted.workers

    def answers(self, version: str = "v", deadline: float = 5) -> bool:
        return self.ask("/", deadline).startswith('{"method"')


def ironhorn(directory: Path) -> Understanding:
    """Ironhorn, as it was installed beside this Python."""
    return Understanding(Ironhorn(Path(sys.executable).parent), directory, Wanted(workers=1))


def peer(name: str, directory: Path) -> Understanding:
    """Another server, with a thread for each client: a request that isn't whole takes one."""
    adapter = PEERS[name](install(PEERS[name].name))
    return Understanding(adapter, directory, Wanted(workers=1, threads=32))


__all__ = ["PEERS", "Understanding", "ironhorn", "peer"]
