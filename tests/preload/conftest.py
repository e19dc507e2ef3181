"""A shop that is preloaded: its import notes which process it is in, and how often it happens."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from harness import Server, Stage

CODE = """
import os
from deployed import make
from meeting import note

note("importers", str(os.getpid()))
os.register_at_fork(after_in_child=lambda: note("forked", str(os.getpid())))
{trouble}
app = make({version!r})
"""


@dataclass
class Shop:
    """The code of a preloaded server, and the traces that it leaves."""

    stage: Stage

    def deploy(self, version: str, trouble: str = "") -> None:
        """New code on disk, put there at once as a deploy does."""
        new = self.stage.directory / "shop.py.new"
        new.write_text(CODE.format(version=version, trouble=trouble))
        new.rename(self.stage.directory / "shop.py")

    def serve(self, **settings: object) -> Server:
        """Starts the server; ready when its workers are."""
        return self.stage.serve("shop:app", preload=True, **settings)

    def noted(self, name: str) -> list[int]:
        """The processes that have left such a note, in order."""
        path = self.stage.directory / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def shop(stage: Stage) -> Shop:
    """Version v1 is deployed."""
    shop = Shop(stage)
    shop.deploy("v1")
    return shop
