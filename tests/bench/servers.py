"""One adapter a server: its command line for what a scenario wants, and what it can't do.

Each gets the options that make it fast and that its documentation allows in production: no access
log, a backlog of 2048, HTTP/1 alone where it would guess, no limit on requests a connection.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BACKLOG = 2048
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Floor:
    """What nginx answers in the app's place: the same body with the same fields."""

    body: bytes = b""
    head: tuple[tuple[str, str], ...] = ()
    file: str = ""
    """A file of the bench's instead of a body."""


@dataclass(frozen=True)
class Wanted:
    """What a scenario wants of a server."""

    app: str = "plain:hello"
    workers: int = 1
    threads: int = 1
    preload: bool | None = None
    """None where it doesn't matter: each has its default."""
    connections: int = 0
    """So many are held at a time, for longer than a keep-alive timeout."""
    needs: frozenset[str] = frozenset()
    """Features without which the scenario makes no sense; see Adapter.lacks."""
    tls: Path | None = None
    """A directory with server.crt and server.key."""
    files: Path = Path()
    """The directory of the files that are sent."""
    floor: Floor | None = None


class Lacking(Exception):
    """The server has no such feature."""


@dataclass(frozen=True)
class Place:
    """Where an adapter finds its programs."""

    bin: Path
    ironhorn: Path = ROOT / "crates" / "python" / "python"
    """The directory that has Ironhorn's package in it."""


class Adapter:
    """What all of them have in common."""

    name = ""
    title = ""
    package = ""
    """Its distribution in PyPI, where that isn't its name."""
    lacks: Mapping[str, str] = {}
    """Feature to reason: keep-alive, pipelining, threads, workers, preload, tls, static."""
    is_floor = False

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def python(self) -> str:
        """The Python that all of them run with."""
        return str(self.place.bin / "python")

    @property
    def distribution(self) -> str:
        """What pip calls it."""
        return self.package or self.name

    def is_installed(self) -> bool:
        """Whether it can be run."""
        return bool(self.version())

    def version(self) -> str:
        """Of the installed distribution, empty if there is none."""
        code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        return output([self.python, "-c", code, self.distribution])

    def check(self, wanted: Wanted) -> None:
        """Raises Lacking for a feature that it hasn't."""
        needs = set(wanted.needs)
        needs |= {"threads"} if wanted.threads > 1 else set()
        needs |= {"workers"} if wanted.workers > 1 else set()
        needs |= {"tls"} if wanted.tls else set()
        if wanted.preload is not None:
            needs.add("preload" if wanted.preload else "no preload")
        for need in sorted(needs):
            if need in self.lacks:
                raise Lacking(self.lacks[need])

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        """The command line; may write into the directory."""
        raise NotImplementedError

    def environment(self, wanted: Wanted) -> dict[str, str]:
        """What it wants in its environment beside what all have."""
        return {}


def output(command: Sequence[str]) -> str:
    """What a command says, empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else ""


CLOSES = "closes each connection"
NO_THREADS = "no threads"
NO_WORKERS = "no workers"
GREENLETS = "greenlets, no threads"
NO_TLS = "no TLS"
NO_STATIC = "no static files"


def lacking(**reasons: str) -> dict[str, str]:
    """Reasons by feature; an underscore in a name is a space, or a hyphen in keep-alive."""
    return {key.replace("keep_", "keep-").replace("_", " "): why for key, why in reasons.items()}


class Ironhorn(Adapter):
    """Ironhorn, from the directory in which it was built."""

    name = "ironhorn"
    title = "Ironhorn"

    def version(self) -> str:
        if not list((self.place.ironhorn / "ironhorn").glob("_ironhorn*.so")):
            return ""
        code = "import sys; sys.path.insert(0, sys.argv[1]); import ironhorn.__main__ as m; "
        code += "sys.argv[1:] = ['--version']; sys.exit(m.main())"
        said = output([self.python, "-c", code, str(self.place.ironhorn)])
        return said.split()[1] if len(said.split()) > 1 else said

    def environment(self, wanted: Wanted) -> dict[str, str]:
        return {"PYTHONPATH": str(self.place.ironhorn)}

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            self.python,
            str(HERE / "launch" / "run_ironhorn.py"),
            f"--bind={HOST}:{port}",
            f"--workers={wanted.workers}",
            f"--threads={wanted.threads}",
            f"--backlog={BACKLOG}",
            f"--worker-connections={max(2000, wanted.connections + 1100)}",
            "--log-level=warn",
            *(["--keepalive=600"] if wanted.connections else []),
            *(["--preload"] if wanted.preload else []),
            *(certfile_and_keyfile(wanted.tls) if wanted.tls else []),
            *([f"--static=/static={wanted.files}"] if "static" in wanted.needs else []),
            wanted.app,
        ]


class IronhornBefore(Ironhorn):
    """Another build of Ironhorn, to compare with."""

    name = "ironhorn-before"
    title = "Ironhorn, the other build"


class Served(Adapter):
    """A server that launch/serve.py starts."""

    served = ""

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            self.python,
            str(HERE / "launch" / "serve.py"),
            self.served or self.name,
            wanted.app,
            str(port),
            f"--workers={wanted.workers}",
            f"--threads={wanted.threads}",
            f"--connections={wanted.connections}",
            # Their documentation has the app imported before the fork.
            *([] if wanted.preload is False else ["--preload"]),
            *([f"--tls={wanted.tls}"] if wanted.tls else []),
        ]


class Bjoern(Served):
    """bjoern, forked as its documentation shows."""

    name = title = "bjoern"
    lacks = lacking(threads=NO_THREADS, tls=NO_TLS, static=NO_STATIC)


class Fastwsgi(Served):
    """fastwsgi as it is."""

    name = title = "fastwsgi"
    lacks = lacking(threads=NO_THREADS, tls=NO_TLS, static=NO_STATIC)


class FastwsgiNoDelay(Fastwsgi):
    """fastwsgi with tcp_nodelay, without which some of its answers wait for 40 ms."""

    served = "fastwsgi"

    name = "fastwsgi-nodelay"
    title = "fastwsgi, TCP_NODELAY"
    package = "fastwsgi"

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [*super().command(wanted, port, directory), "--nodelay"]


class Gevent(Served):
    """gevent's own server."""

    name = title = "gevent"
    lacks = lacking(threads=GREENLETS, workers=NO_WORKERS, static=NO_STATIC)


class Waitress(Served):
    """waitress."""

    name = title = "waitress"
    lacks = lacking(workers=NO_WORKERS, tls=NO_TLS, static=NO_STATIC)


class Cheroot(Served):
    """cheroot, CherryPy's server."""

    name = title = "cheroot"
    lacks = lacking(workers=NO_WORKERS, static=NO_STATIC)


class Granian(Adapter):
    """Granian: one runtime thread and one that runs the app, unless threads are wanted."""

    name = "granian"
    title = "Granian"
    lacks = lacking(preload="no preload")

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        held = max(BACKLOG, wanted.connections + 1100)
        return [
            str(self.place.bin / "granian"),
            "--interface=wsgi",
            "--http=1",
            f"--host={HOST}",
            f"--port={port}",
            f"--workers={wanted.workers}",
            f"--blocking-threads={wanted.threads}",
            "--runtime-threads=1",
            # It counts connections against this, also idle ones.
            f"--backlog={held * wanted.workers}",
            f"--backpressure={held}",
            "--no-access-log",
            "--log-level=warning",
            *(["--http1-header-read-timeout=60000"] if wanted.connections else []),
            *(self.tls(wanted.tls) if wanted.tls else []),
            *(self.static(wanted.files) if "static" in wanted.needs else []),
            wanted.app,
        ]

    def tls(self, directory: Path) -> list[str]:
        """Its key is PKCS #8."""
        return [
            f"--ssl-certificate={directory / 'server.crt'}",
            f"--ssl-keyfile={directory / 'server.pk8'}",
        ]

    def static(self, directory: Path) -> list[str]:
        """Files of a directory."""
        return ["--static-path-route=/static", f"--static-path-mount={directory}"]


class Uwsgi(Adapter):
    """uWSGI with --http-socket: --http would put a router between, in a process of its own."""

    name = "uwsgi"
    title = "uWSGI"
    lacks = lacking(keep_alive=CLOSES, pipelining=CLOSES)

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            str(self.place.bin / "uwsgi"),
            *self.listening(f"{HOST}:{port}", wanted.tls),
            "--master",
            "--need-app",
            f"--listen={BACKLOG}",
            "--disable-logging",
            "--die-on-term",
            f"--processes={wanted.workers}",
            *([f"--threads={wanted.threads}"] if wanted.threads > 1 else []),
            # Without it the app's threads never run; with it a request costs a little more.
            *(["--enable-threads"] if "background" in wanted.needs else []),
            *(["--lazy-apps"] if wanted.preload is False else []),
            *([f"--static-map=/static={wanted.files}"] if "static" in wanted.needs else []),
            f"--home={self.place.bin.parent}",
            f"--module={wanted.app}",
        ]

    def listening(self, address: str, tls: Path | None) -> list[str]:
        """TLS is its HTTPS router's, which keeps connections."""
        if tls is None:
            return [f"--http-socket={address}"]
        told = output([str(self.place.bin / "uwsgi"), "--help"])
        if "--https " not in told:
            raise Lacking("built without TLS")
        return [
            f"--https={address},{tls / 'server.crt'},{tls / 'server.key'}",
            "--http-keepalive",
        ]


class Gunicorn(Adapter):
    """Gunicorn with one of its workers."""

    kind = ""

    package = "gunicorn"
    lacks = lacking(static=NO_STATIC)

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        return [
            str(self.place.bin / "gunicorn"),
            f"--bind={HOST}:{port}",
            f"--worker-class={self.kind}",
            f"--workers={wanted.workers}",
            *([f"--threads={wanted.threads}"] if self.kind == "gthread" else []),
            f"--worker-connections={max(2000, wanted.connections + 1100)}",
            f"--backlog={BACKLOG}",
            "--no-control-socket",
            "--log-level=warning",
            *(["--keep-alive=600"] if wanted.connections else []),
            *(["--preload"] if wanted.preload else []),
            *(certfile_and_keyfile(wanted.tls) if wanted.tls else []),
            wanted.app,
        ]


class GunicornSync(Gunicorn):
    """Its default worker."""

    kind = "sync"

    name = "gunicorn-sync"
    title = "Gunicorn sync"
    lacks = lacking(keep_alive=CLOSES, pipelining=CLOSES, threads=NO_THREADS, static=NO_STATIC)


class GunicornGthread(Gunicorn):
    """Its worker with threads."""

    kind = "gthread"
    name = "gunicorn-gthread"
    title = "Gunicorn gthread"


class GunicornGevent(Gunicorn):
    """Its worker with greenlets."""

    kind = "gevent"

    name = "gunicorn-gevent"
    title = "Gunicorn gevent"
    lacks = lacking(threads=GREENLETS, static=NO_STATIC)


class ModWsgi(Adapter):
    """Apache with mod_wsgi in daemon mode, as mod_wsgi-express sets it up."""

    name = title = "mod_wsgi"
    package = "mod-wsgi"
    lacks = lacking(preload="no preload", tls="TLS is Apache's own")

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        included = directory / "included.conf"
        included.write_text("MaxKeepAliveRequests 0\nKeepAlive On\nAcceptFilter http none\n")
        return [
            *(self.unprivileged() if os.geteuid() == 0 else []),
            str(self.place.bin / "mod_wsgi-express"),
            "start-server",
            "--application-type=module",
            *module_and_callable(wanted.app),
            f"--host={HOST}",
            # With TLS alone it still wants a port for what it redirects.
            f"--port={port}",
            f"--processes={wanted.workers}",
            f"--threads={wanted.threads}",
            f"--max-clients={max(1200, wanted.connections + 200)}",
            f"--server-backlog={BACKLOG}",
            f"--keep-alive-timeout={600 if wanted.connections else 5}",
            f"--include-file={included}",
            f"--server-root={directory / 'apache'}",
            f"--python-path={HERE / 'apps'}",
            "--locale=C.UTF-8",
            "--log-to-terminal",
            "--disable-reloading",
            "--enable-sendfile",
            *(["--url-alias", "/static", str(wanted.files)] if "static" in wanted.needs else []),
        ]

    def unprivileged(self) -> list[str]:
        """Apache never serves as root, and whom it becomes may not be let read Python or the app:
        so root is to look like somebody else to it.
        """
        return ["unshare", "--user", "--map-user=33", "--map-group=33", "--"]


class Nginx(Adapter):
    """nginx answering the same bytes: a mark for what the kernel and HTTP cost."""

    name = title = "nginx"
    is_floor = True

    def version(self) -> str:
        found = re.search(r"nginx/(\S+)", output([nginx(), "-v"]))
        return found[1] if found else ""

    def check(self, wanted: Wanted) -> None:
        if wanted.floor is None:
            raise Lacking("answers no such thing without an app")

    def command(self, wanted: Wanted, port: int, directory: Path) -> list[str]:
        config = directory / "nginx.conf"
        config.write_text(nginx_config(wanted, port, directory))
        return [nginx(), "-p", str(directory), "-c", str(config), "-e", "stderr"]


def nginx() -> str:
    """Debian has it where only root looks."""
    found = [Path(each) / "nginx" for each in (*os.get_exec_path(), "/usr/sbin")]
    return next((str(each) for each in found if os.access(each, os.X_OK)), "nginx")


def nginx_config(wanted: Wanted, port: int, directory: Path) -> str:
    """One server that answers every path alike."""
    floor = wanted.floor
    assert floor is not None
    tls = wanted.tls
    temporary = "".join(
        f"  {kind}_temp_path {directory / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"worker_processes {wanted.workers};\ndaemon off;\npid {directory / 'nginx.pid'};\n"
        "error_log stderr error;\nworker_rlimit_nofile 20000;\n"
        f"events {{ worker_connections {max(2048, wanted.connections + 1100)}; }}\n"
        "http {\n  access_log off;\n  sendfile on;\n  tcp_nodelay on;\n"
        "  keepalive_requests 1000000000;\n  keepalive_timeout 600;\n"
        "  open_file_cache max=100;\n  open_file_cache_valid 600;\n"
        f"{temporary}"
        f"  server {{\n    listen {HOST}:{port} backlog={BACKLOG}{' ssl' if tls else ''};\n"
        + (
            f"    ssl_certificate {tls / 'server.crt'};\n"
            f"    ssl_certificate_key {tls / 'server.key'};\n"
            if tls
            else ""
        )
        + f"    location / {{\n{nginx_answer(floor, wanted.files, directory)}    }}\n  }}\n}}\n"
    )


def nginx_answer(floor: Floor, files: Path, directory: Path) -> str:
    """What is in the location: a short text stands in the configuration, the rest in files."""
    kind = dict(floor.head).get("Content-Type", "text/plain")
    fields = [field for field in floor.head if field[0] != "Content-Type"]
    lines = [f'default_type "{kind}";']
    lines += [f'add_header {name} "{value}";' for name, value in fields]
    if floor.file:
        lines += [f"root {files};", f"try_files /{floor.file} =404;"]
    elif len(floor.body) <= 200:
        text = floor.body.decode().replace("\n", "\\n").replace('"', '\\"')
        lines.append(f'return 200 "{text}";')
    else:
        (directory / "answer").write_bytes(floor.body)
        lines += [f"root {directory};", "try_files /answer =404;"]
    return "".join(f"      {line}\n" for line in lines)


def certfile_and_keyfile(tls: Path) -> list[str]:
    """The options that Ironhorn and Gunicorn share."""
    return [f"--certfile={tls / 'server.crt'}", f"--keyfile={tls / 'server.key'}"]


def module_and_callable(app: str) -> list[str]:
    """mod_wsgi-express wants them apart."""
    module, _, name = app.partition(":")
    return [f"--callable-object={name}", module]


ADAPTERS: tuple[type[Adapter], ...] = (
    Ironhorn,
    Bjoern,
    Fastwsgi,
    FastwsgiNoDelay,
    Granian,
    Uwsgi,
    GunicornSync,
    GunicornGthread,
    GunicornGevent,
    Gevent,
    Waitress,
    Cheroot,
    ModWsgi,
    Nginx,
)
