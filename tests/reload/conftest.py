"""A shop that is deployed again and again: its code is a file that the tests replace, its settings
a YAML file.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass

import pytest
from harness import Server, Stage, wait_until


@dataclass
class Shop:
    """The code and the settings of the server under reload."""

    stage: Stage

    def deploy(self, version: str, trouble: str = "") -> None:
        """New code on disk, put there at once as a deploy does."""
        self.write(
            "shop.py", f"from deployed import make\n\napp = make({version!r}, {trouble!r})\n"
        )

    def write(self, name: str, text: str) -> None:
        """Replaces a file atomically."""
        new = self.stage.directory / f"{name}.new"
        new.write_text(text)
        new.rename(self.stage.directory / name)

    def imports(self) -> Counter[str]:
        """How often each version was imported."""
        return Counter((self.stage.directory / "imports").read_text().split())

    def failed_reload(self, server: Server, why: str, deadline: float = 20) -> list[str]:
        """HUP, and waits for the one line that says why it failed; the lines since then."""
        before = set(server.workers())
        mark = server.log.mark()
        server.send(signal.SIGHUP)
        line = server.log.wait_for_line("reload failed", deadline, since=mark)
        assert why in line, line
        wait_until(
            lambda: set(server.workers()) == before,
            what="the old workers, all of them, and no others",
        )
        assert len(server.log.matching("reload failed", mark)) == 1
        return server.log.lines(mark)


@pytest.fixture
def shop(stage: Stage) -> Shop:
    """Version v1 is deployed."""
    shop = Shop(stage)
    shop.deploy("v1")
    return shop
