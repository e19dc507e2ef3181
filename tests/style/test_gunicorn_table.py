"""The table of Gunicorn's settings in the documentation is the one that the code goes by."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "moving-from-gunicorn.md"
COUNT = 120


def rows(text: str) -> list[str]:
    """The rows of the table of settings."""
    table = text.partition("| Setting of Gunicorn | Here |\n|---|---|\n")[2].partition("\n\n")[0]
    return table.splitlines()


def test_the_table_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "ironhorn._gunicorn_settings"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert rows(DOCUMENT.read_text()) == rows(printed)


def test_every_setting_of_gunicorn_is_in_it_once() -> None:
    names = [re.match(r"\| `(\w+)` \| .+ \|$", row) for row in rows(DOCUMENT.read_text())]
    found = [name[1] for name in names if name]
    assert len(found) == len(set(found)) == COUNT


def test_what_a_setting_becomes_is_a_setting() -> None:
    ours = (DOCUMENT.parent / "settings.md").read_text()
    for row in rows(DOCUMENT.read_text()):
        if becomes := re.match(r"\| `\w+` \| `(\w+)`", row):
            assert re.search(rf"^#+ `?{becomes[1]}`?$", ours, re.M), row
