"""Habits of the repository that a machine can check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SIGNALS = ["TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "USR1", "USR2", "WINCH", "CHLD"]


def suite_files() -> list[Path]:
    return [
        path
        for path in TESTS.rglob("*.py")
        if not {"harness", "apps"} & set(path.relative_to(TESTS).parts)
    ]


def test_no_sleep_outside_the_harness() -> None:
    """A test waits for an event, up to a deadline."""
    sleep = re.compile(r"\b(time\.)?sleep\(|from time import .*sleep")
    found = [
        str(path)
        for path in suite_files()
        if path != Path(__file__) and sleep.search(path.read_text())
    ]
    assert not found


def test_no_fixed_port() -> None:
    fixed = re.compile(r"(bind|-b)[= ](127\.0\.0\.1|0\.0\.0\.0|localhost):[1-9]\d{3}\b")
    found = [
        str(path)
        for path in suite_files()
        if path != Path(__file__) and fixed.search(path.read_text())
    ]
    assert not found


def documents() -> list[Path]:
    return sorted((ROOT / "docs").glob("*.md"))


def links(path: Path) -> list[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    return [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose)]


def test_the_readme_leads_to_every_document() -> None:
    linked = {(ROOT / link).resolve() for link in links(ROOT / "README.md") if "://" not in link}
    missing = [path.name for path in documents() if path.resolve() not in linked]
    assert not missing


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in [ROOT / "README.md", *documents(), *(ROOT / "docs" / "decisions").glob("*.md")]
        for link in links(path)
        if link
        and "://" not in link
        and not link.startswith("mailto:")
        and not (path.parent / link).exists()
    ]
    assert not broken


def signal_table(path: Path) -> set[str]:
    """The signals that have a row of their own in a table of the document."""
    rows = re.findall(r"^\|([^|]+)\|", path.read_text(), re.MULTILINE)
    return {
        name for row in rows for name in re.findall(r"\b(?:SIG)?([A-Z][A-Z0-9]{2,5})\b", row)
    } & set(SIGNALS)


@pytest.mark.parametrize("name", ["README.md", "docs/signals.md"])
def test_the_table_of_signals_is_complete(name: str) -> None:
    """Every signal that the master knows (its command.rs) is in the tables, and nothing else."""
    source = (ROOT / "crates" / "master" / "src" / "command.rs").read_text()
    known = {name for name in SIGNALS if re.search(rf"SIG{name}, Command::(?!Unavailable)", source)}
    assert {"TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "USR1"} <= known
    listed = signal_table(ROOT / name)
    assert known - {"CHLD"} <= listed, f"not in {name}: {known - listed}"


def test_files_are_short() -> None:
    """Over 800 lines needs a reason in docs/decisions/."""
    reasons = "\n".join(path.read_text() for path in (ROOT / "docs" / "decisions").glob("*.md"))
    sources = [*(ROOT / "crates").rglob("*.rs"), *TESTS.rglob("*.py")]
    long = [
        path
        for path in sources
        if "target" not in path.parts and len(path.read_text().splitlines()) > 800
    ]
    assert not [str(path.relative_to(ROOT)) for path in long if path.name not in reasons]


def test_unsafe_only_where_it_belongs() -> None:
    for name in ("http", "master", "worker", "config"):
        text = (ROOT / "crates" / name / "src" / "lib.rs").read_text()
        assert "#![forbid(unsafe_code)]" in text, name
