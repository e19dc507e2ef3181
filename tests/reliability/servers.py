"""One adapter a server: its command for what a fault wants, its configuration file, its reload.

Each is run with the options that its own documentation recommends for production, not with the
weakest: uWSGI with a master, need-app and lazy-apps, Granian with failed workers respawned.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wanted:
    """What a fault wants of a server."""

    workers: int = 2
    threads: int = 1
    timeout: int = 30
    max_requests: int | None = None
    preload: bool = False
    configured: bool = False
    """The number of workers stands in a configuration file, which can be broken."""
    tls: Path | None = None
    """TLS, with server.crt and server.key of this directory; ca.pem is their authority."""
    idle: int = 0
    """So many connections are to be kept for minutes without a request."""
    connections: int | None = None
    """A worker is to hold so many at most."""


class Lacking(Exception):
    """The server has no such feature."""


class Adapter:
    """What all of them have in common."""

    name = ""
    title = ""
    keeps_alive = True
    recycles_within = 15.0
    """How long it may take, under load, until a worker was recycled."""
    reloads_for = 200.0
    """How many seconds are spent on a thousand reloads, at most."""
    upgrade_signal: signal.Signals | None = None
    config_name = ""
    sound = "workers = 2\n"
    broken = "workers = = 2\n"

    def __init__(self, bin: Path) -> None:
        self.bin = bin

    @property
    def installed(self) -> bool:
        """Whether its command is there."""
        return (self.bin / self.name).exists()

    def version(self) -> str:
        """The version it tells."""
        done = subprocess.run(
            [self.bin / self.name, "--version"], capture_output=True, text=True, timeout=20
        )
        return (done.stdout or done.stderr).split()[-1].strip("()")

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        """The command line; raises Lacking."""
        raise NotImplementedError

    def reload(self, master: int, directory: Path) -> None:
        """Has new code and settings taken."""
        os.kill(master, signal.SIGHUP)


class Ironhorn(Adapter):
    """Ironhorn itself. Its workers have one thread each: it gets more workers instead."""

    name = "ironhorn"
    title = "Ironhorn"
    reloads_for = 1300.0  # Each has a second in which the new code is to live.
    upgrade_signal = signal.SIGUSR2
    config_name = "ironhorn.yaml"
    sound = "workers: 2\n"
    broken = "workers: many\n"

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            str(self.bin / "ironhorn"),
            f"--bind=127.0.0.1:{port}",
            *([] if wanted.configured else self.size(wanted)),
            f"--timeout={wanted.timeout}",
            "--boot-timeout=6",
            *([f"--max-requests={wanted.max_requests}"] if wanted.max_requests else []),
            *(["--preload"] if wanted.preload else []),
            *(certfile_and_keyfile(wanted.tls) if wanted.tls else []),
            *(
                [f"--worker-connections={2 * wanted.idle}", "--keepalive=600"]
                if wanted.idle
                else []
            ),
            *([f"--worker-connections={wanted.connections}"] if wanted.connections else []),
            "shop:app",
        ]

    def size(self, wanted: Wanted) -> list[str]:
        """How many workers, and of how many threads."""
        return [f"--workers={wanted.workers * wanted.threads}"]


class IronhornThreads(Ironhorn):
    """Ironhorn with workers of several threads."""

    title = "Ironhorn, threads"

    def size(self, wanted: Wanted) -> list[str]:
        return [f"--workers={wanted.workers}", f"--threads={wanted.threads}"]


class Gunicorn(Adapter):
    """Gunicorn: the sync worker with one thread, gthread with more."""

    name = "gunicorn"
    title = "Gunicorn"
    upgrade_signal = signal.SIGUSR2
    config_name = "gunicorn.conf.py"
    broken = "workers = 'many'\n"

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            str(self.bin / "gunicorn"),
            f"--bind=127.0.0.1:{port}",
            *([] if wanted.configured else [f"--workers={wanted.workers}"]),
            f"--threads={wanted.threads}",
            f"--timeout={wanted.timeout}",
            "--no-control-socket",
            *([f"--max-requests={wanted.max_requests}"] if wanted.max_requests else []),
            *(["--preload"] if wanted.preload else []),
            *(certfile_and_keyfile(wanted.tls) if wanted.tls else []),
            "shop:app",
        ]


class Uwsgi(Adapter):
    """uWSGI, reloaded by HUP: the master executes itself anew."""

    name = "uwsgi"
    title = "uWSGI"
    keeps_alive = False
    config_name = "uwsgi.ini"
    sound = "[uwsgi]\nstrict = true\nprocesses = 2\n"
    broken = "[uwsgi]\nstrict = true\nprocesess = 2\n"

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            str(self.bin / "uwsgi"),
            self.listening(f"127.0.0.1:{port}", wanted.tls),
            "--master",
            "--need-app",
            "--hook-master-start=unix_signal:15 gracefully_kill_them_all",
            "--enable-threads",
            "--listen=1024",
            "--disable-logging",
            "--no-orphans",
            f"--harakiri={wanted.timeout}",
            "--harakiri-verbose",
            "--reload-mercy=30",
            "--worker-reload-mercy=30",
            *(["--ini=uwsgi.ini"] if wanted.configured else [f"--processes={wanted.workers}"]),
            *([f"--threads={wanted.threads}"] if wanted.threads > 1 else []),
            *([f"--max-requests={wanted.max_requests}"] if wanted.max_requests else []),
            *(["--min-worker-lifetime=0"] if wanted.max_requests else []),
            *([] if wanted.preload else ["--lazy-apps"]),
            *self.more(directory),
            f"--home={self.bin.parent}",
            "--module=shop:app",
        ]

    def listening(self, address: str, tls: Path | None) -> str:
        """TLS is its HTTPS router's, in a process of its own, where it was built with that."""
        if tls is None:
            return f"--http-socket={address}"
        told = subprocess.run(
            [self.bin / self.name, "--help"], capture_output=True, text=True, timeout=20
        ).stdout
        if "--https " not in told:
            raise Lacking("built without TLS")
        return f"--https={address},{tls / 'server.crt'},{tls / 'server.key'}"

    def more(self, directory: Path) -> list[str]:
        """Further options."""
        return []


class UwsgiChain(Uwsgi):
    """uWSGI, reloaded worker by worker by touching a file; what isn't a reload is as with uWSGI."""

    title = "uWSGI, chain reload"
    config_name = ""

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        if wanted.max_requests or wanted.preload or wanted.threads > 1:
            raise Lacking("as uWSGI")
        return super().command(wanted, port, directory)

    def more(self, directory: Path) -> list[str]:
        (directory / "chain").touch()
        return ["--touch-chain-reload=chain"]

    def reload(self, master: int, directory: Path) -> None:
        # It compares times of modification in whole seconds.
        file = directory / "chain"
        stamp = file.stat().st_mtime + 2
        os.utime(file, (stamp, stamp))


class Granian(Adapter):
    """Granian. It recycles workers by age, 60 s at least, and not by requests served."""

    name = "granian"
    title = "Granian"
    recycles_within = 75.0

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        if wanted.preload:
            raise Lacking("no preload")
        if wanted.configured:
            raise Lacking("no configuration file")
        return [
            str(self.bin / "granian"),
            "--interface=wsgi",
            "--host=127.0.0.1",
            f"--port={port}",
            f"--workers={wanted.workers}",
            f"--blocking-threads={wanted.threads}",
            "--respawn-failed-workers",
            "--workers-kill-timeout=30",
            *(["--workers-lifetime=60"] if wanted.max_requests else []),
            *(
                [
                    f"--ssl-certificate={wanted.tls / 'server.crt'}",
                    f"--ssl-keyfile={wanted.tls / 'server.key'}",
                ]
                if wanted.tls
                else []
            ),
            "shop:app",
        ]


def certfile_and_keyfile(tls: Path) -> list[str]:
    """The options that Ironhorn and Gunicorn share."""
    return [f"--certfile={tls / 'server.crt'}", f"--keyfile={tls / 'server.key'}"]


ADAPTERS = (Ironhorn, Gunicorn, Uwsgi, UwsgiChain, Granian)
