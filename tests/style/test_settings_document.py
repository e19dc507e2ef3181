"""docs/settings.md is generated from the definitions; every setting that the command knows is in
it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ironhorn("our documents")

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_is_documented_and_no_other(run) -> None:
    printed = set(yaml.safe_load(run("--print-config", "toolbox:app").stdout))
    text = DOCUMENT.read_text()
    missing = [key for key in printed if not re.search(rf"\b{key}\b", text)]
    assert not missing


def test_every_flag_of_the_help_is_documented(run) -> None:
    flags = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][a-z-]+)", run("--help").stdout, re.MULTILINE))
    text = DOCUMENT.read_text()
    assert flags
    missing = [flag for flag in flags - {"--help", "--version"} if flag not in text]
    assert not missing
