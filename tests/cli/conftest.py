"""Commands that end by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from harness import Stage, run_once

pytestmark = pytest.mark.ironhorn("another command line")


@pytest.fixture
def refuses(stage: Stage) -> Callable[..., CompletedProcess[str]]:
    """Runs the command and asserts that it ends with this exit code and says this on stderr,
    without a traceback.
    """

    def check(
        code: int, *patterns: str, args: list[str], **options: object
    ) -> CompletedProcess[str]:
        done = run_once(stage, *args, **options)
        assert done.returncode == code, (done.returncode, done.stderr)
        for pattern in patterns:
            assert re.search(pattern, done.stderr), f"{pattern!r} is not in\n{done.stderr}"
        if code != 3:
            assert "Traceback" not in done.stderr, done.stderr
        return done

    return check
