"""The examples as they are meant to be run: in their directory, with their ironhorn.yaml."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import Server, Stage, scaled

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/ironhorn.yaml"))
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def app_of(name: str) -> str:
    """The app that the example's ironhorn.yaml names."""
    (app,) = re.findall(
        r"^app: (\S+)$", (EXAMPLES / name / "ironhorn.yaml").read_text(), re.MULTILINE
    )
    return app


@dataclass(frozen=True)
class Example:
    """Serves examples, with or without wsgiref.validate around the app."""

    stage: Stage
    validated: bool = False
    threads: int | None = None

    def serve(self, name: str, env: dict[str, str] | None = None, **settings: object) -> Server:
        """Starts the real command on an example."""
        directory, env = EXAMPLES / name, dict(env or {})
        settings = {"threads": self.threads, **settings}
        is_reference = self.stage.flavour.name != "ironhorn"
        config = [] if is_reference else [f"--config={directory / 'ironhorn.yaml'}"]
        app = app_of(name) if is_reference else None
        if self.validated:
            env["VALIDATED_APP"] = app_of(name)
            app, settings["pythonpath"] = "validated:app", HERE
        return self.stage.serve(app, *config, env=env, chdir=directory, **settings)


class Pace:
    """Holds the FIFO that the streaming examples read: a chunk is made when the test says so."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.env = {"STREAMING_GATE": str(path)}

    def next_chunk(self) -> None:
        """Lets the app make one more chunk."""
        os.write(self._fd, b".")

    def close(self) -> None:
        """An app that still waits reads end of file and goes on."""
        os.close(self._fd)


@dataclass(frozen=True)
class Site:
    """The Django site's files: made once, copied for each server that writes."""

    directory: Path

    USER = "ada"
    PASSWORD = "correct horse battery staple"

    def prepare(self) -> None:
        """Runs the example's own `prepare`, with the admin's name and password."""
        admin = {
            "DJANGO_SUPERUSER_USERNAME": self.USER,
            "DJANGO_SUPERUSER_PASSWORD": self.PASSWORD,
        }
        subprocess.run(
            [EXAMPLES / "django_site" / "prepare"],
            env={"PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1", **self.env(), **admin},
            check=True,
            timeout=scaled(60),
        )

    @property
    def static(self) -> Path:
        """What collectstatic gathered."""
        return self.directory / "static"

    def copy_to(self, directory: Path) -> Site:
        """The same site with a database of its own."""
        directory.mkdir()
        shutil.copy(self.directory / "db.sqlite3", directory)
        (directory / "static").symlink_to(self.static)
        return Site(directory)

    def env(self) -> dict[str, str]:
        """The environment that the site's settings read."""
        return {
            "DJANGO_SECRET_KEY": "a key for tests only",
            "DJANGO_DATABASE": str(self.directory / "db.sqlite3"),
            "DJANGO_STATIC_ROOT": str(self.static),
        }


@functools.cache
def prepared_site(base: Path) -> Site:
    """The Django site, prepared once a run in its directory `base`."""
    site = Site(base / "site")
    site.directory.mkdir()
    site.prepare()
    return site
