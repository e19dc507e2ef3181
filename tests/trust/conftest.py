"""Fixtures: nginx in front, and settings as they are printed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml
from harness import Stage, run_once
from proxy.front import front

__all__ = ["front", "run_printed"]


@pytest.fixture
def run_printed(stage: Stage) -> Callable[..., dict[str, object]]:
    """The settings that options make, printed, fed back in and printed again."""

    def run(*options: str) -> dict[str, object]:
        done = run_once(stage, "--print-config", *options, "toolbox:app")
        assert done.returncode == 0, done.stderr
        (stage.directory / "ironhorn.yaml").write_text(done.stdout)
        again = run_once(stage, "--print-config")
        assert again.returncode == 0, again.stderr
        settings = yaml.load(done.stdout, yaml.BaseLoader)
        assert yaml.load(again.stdout, yaml.BaseLoader) == settings
        return settings

    return run
