"""A real nginx with the configuration of examples/nginx.conf or examples/nginx-uwsgi.conf, changed
only where a test needs it.

The test binds nginx's port and hands the socket over in the variable NGINX, as nginx does to itself
when it upgrades its binary: no port is guessed. Nothing is retried: `proxy_next_upstream off` or
`uwsgi_next_upstream off` turns every broken connection to the server into a 502 that the client
sees.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.process import scaled, wait_until
from harness.server import listen
from harness.wire import Address

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TEMPORARY = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
KEEP_ALIVE = (
    "keepalive 32;",
    "keepalive_timeout 4s;",
    "proxy_http_version 1.1;",
    'proxy_set_header Connection "";',
)


class Nginx:
    """One nginx in a directory of its own, in front of the server at `upstream`.

    With `uwsgi`, which are lines for the location, it speaks the uwsgi protocol. `changes` are
    further ones to the example's lines, by patterns; complaints that match `tolerates` are none.
    """

    def __init__(
        self,
        directory: Path,
        upstream: Address,
        keep_alive: bool = False,
        static: Path | None = None,
        uwsgi: Sequence[str] | None = None,
        changes: Mapping[str, str] | None = None,
        tolerates: str = "(?!)",
        stream: bool = False,
    ) -> None:
        """With `stream` it passes on bytes, after a header of the PROXY protocol."""
        directory.mkdir()
        self._tolerates = tolerates
        self.directory = directory
        with listen() as listener:
            # nginx leaves an inherited socket as it is, and wakes two workers for one connection.
            listener.setblocking(False)
            self.address: Address = listener.getsockname()[:2]
            example = EXAMPLES / ("nginx.conf" if uwsgi is None else "nginx-uwsgi.conf")
            everything = {
                **places(directory, self.address, static or directory),
                **(route(upstream, keep_alive) if uwsgi is None else uwsgi_route(upstream, uwsgi)),
                **(changes or {}),
            }
            configuration = directory / "nginx.conf"
            configuration.write_text(
                stream_to(upstream, directory, self.address)
                if stream
                else rewrite(example, everything)
            )
            files = ["-p", directory, "-c", configuration, "-e", directory / "error.log"]
            self._process = subprocess.Popen(
                [program(), *files, "-g", "daemon off;"],
                env={"PATH": os.environ["PATH"], "NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
            )
        wait_until(self._is_started, what="nginx started")

    def _is_started(self) -> bool:
        assert self._process.poll() is None, (self.directory / "error.log").read_text()
        return (self.directory / "nginx.pid").exists()

    def errors(self) -> str:
        """What nginx complained about: each broken connection to the server leaves a line."""
        return "\n".join(
            line
            for line in (self.directory / "error.log").read_text().splitlines()
            if re.search(r"\[(error|crit|alert|emerg)\]", line)
            and not re.search(self._tolerates, line)
        )

    def stop(self) -> None:
        """Ends nginx and its workers."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(scaled(10))


def places(directory: Path, address: Address, static: Path) -> dict[str, str]:
    """Paths and addresses of this test, by the lines that they stand for."""
    temporary = "".join(f"\n    {name}_temp_path {directory / name};" for name in TEMPORARY)
    return {
        r"^user www-data;$": "user root;" if os.geteuid() == 0 else "",
        r"^pid .*;$": f"pid {directory / 'nginx.pid'};",
        r"^error_log .*;$": f"error_log {directory / 'error.log'} warn;",
        r"^    access_log .*;$": f"    access_log {directory / 'access.log'};{temporary}",
        r"^        listen 80;$": f"        listen {address[0]}:{address[1]};",
        r"alias /srv/app/static/;$": f"alias {static}/;",
    }


def stream_to(upstream: Address, directory: Path, address: Address) -> str:
    """A whole configuration."""
    return f"""
{"user root;" if os.geteuid() == 0 else ""}
load_module {modules() / "ngx_stream_module.so"};
pid {directory / "nginx.pid"};
error_log {directory / "error.log"} warn;
events {{ worker_connections 64; }}
stream {{
    server {{
        listen {address[0]}:{address[1]};
        proxy_pass {spelled(upstream)};
        proxy_protocol on;
    }}
}}
"""


def modules() -> Path:
    """Where nginx has its modules."""
    built = subprocess.run([program(), "-V"], capture_output=True, text=True, check=True)
    found = re.search(r"--modules-path=(\S+)", built.stderr)
    assert found, built.stderr
    return Path(found[1])


def spelled(upstream: Address) -> str:
    """An address as nginx has it."""
    if isinstance(upstream, tuple):
        return f"{upstream[0]}:{upstream[1]}"
    return f"unix:{os.fsdecode(upstream)}"


def uwsgi_route(upstream: Address, lines: Sequence[str]) -> dict[str, str]:
    """The way to a server that speaks uwsgi, by the lines that it stands for."""
    location = " ".join(["uwsgi_pass app; uwsgi_next_upstream off;", *lines])
    return {
        r"^ {8}server localhost:3031 ": f"        server {spelled(upstream)} ",
        r"^ {12}uwsgi_pass .*$": f"            {location}",
    }


def route(upstream: Address, keep_alive: bool) -> dict[str, str]:
    """The way to the server, by the lines that it stands for."""
    commented = {rf"# {re.escape(line)}$": line for line in KEEP_ALIVE} if keep_alive else {}
    return {
        r"^ {8}server localhost:8000 ": f"        server {spelled(upstream)} ",
        r"^ {12}proxy_pass .*$": "            proxy_pass http://app; proxy_next_upstream off;",
        **commented,
    }


def rewrite(example: Path, changes: dict[str, str]) -> str:
    """The text with every change made; what is to be changed must be there exactly once."""
    text = example.read_text()
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, lambda _, new=replacement: new, text, flags=re.MULTILINE)
        assert count == 1, f"{example} holds {pattern!r} {count} times"
    return text


def program() -> str:
    """Where nginx is; Debian puts it where only root's PATH looks."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, "nginx is missing: apt-get install nginx"
    return found
