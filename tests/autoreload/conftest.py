"""A project whose files are edited while it is served."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Server, Stage, wait_until

APP = """
from pathlib import Path

import greeting

TEMPLATE = Path(__file__).parent / "templates" / "page.html"
PAGE = TEMPLATE.read_text() if TEMPLATE.exists() else ""


def app(environ, start_response):
    body = f"{greeting.TEXT}{PAGE}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Project:
    """The files, and the server that is told to watch them."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.root = stage.directory / name
        self.root.mkdir()
        self.write("app.py", APP)
        self.write("greeting.py", "TEXT = 'one'\n")

    def write(self, name: str, text: str) -> Path:
        """Writes in place."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def replace(self, name: str, text: str) -> None:
        """As editors do that keep the old file until the new one is whole."""
        path = self.root / name
        path.rename(path.with_name(path.name + "~"))
        new = path.with_name(f".{path.name}.swp")
        new.write_text(text)
        new.rename(path)

    def serve(self, *arguments: str, ready: bool = True, **settings: object) -> Server:
        """Serves it with `reload`."""
        options = {"chdir": self.root, "reload": True, **settings}
        return self.stage.serve("app:app", *arguments, ready=ready, **options)

    @staticmethod
    def wait_answer(server: Server, text: str) -> None:
        """Waits until that is what every request gets."""
        wait_until(lambda: server.get("/").body == text.encode(), 20, f"the answer {text!r}")

    @staticmethod
    def wait_reloads(server: Server, count: int) -> None:
        """Waits until so many reloads have succeeded since the start."""
        server.log.wait_for_line(r"\breloaded\b", 20, count=count)


@pytest.fixture
def project(stage: Stage) -> Project:
    """It answers "one"."""
    return Project(stage, "project")
