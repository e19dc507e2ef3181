"""docs/security.md says what the code does: the rules by which it refuses, and the limits."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def section(title: str) -> str:
    """The text below a heading."""
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables, without their heads."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in found if row[0] not in ("What", "Setting")]


def test_every_rule_of_refusal_is_listed() -> None:
    """The pairs of status and RFC section in the code's table of refusals, and no others."""
    source = (ROOT / "crates" / "http" / "src" / "error.rs").read_text()
    known = set(re.findall(r'\((\d{3}), "(RFC \d+ §[\d.]+)"', source))
    assert len(known) > 15
    listed = {
        (status, rule)
        for _, statuses, rule in rows(section("What is refused"))
        for status in re.findall(r"\d{3}", statuses)
    }
    # A head that ends too early is refused by the parser; the loop knows that nobody is there.
    known.remove(("400", "RFC 9112 §8"))
    limits = {("431", "RFC 9112 §7.1.2"), ("431", "RFC 6585 §5")}
    assert limits <= known
    assert listed == known, f"not listed: {known - listed}, not in the code: {listed - known}"


def test_limits_and_timeouts_have_their_defaults() -> None:
    found = rows(section("Limits")) + rows(section("Timeouts"))
    assert len(found) > 10
    for row in found:
        name, default = row[0].strip("`"), row[1].removesuffix(" s")
        setting = SETTINGS.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert f"| Default | `{default}` |" in setting, name
