"""--help, --version, and how wrong flags, keys, types and values are refused: exit code 2, and a
message that helps.
"""

from __future__ import annotations

import re

import pytest
from harness import Stage, run_once

pytestmark = pytest.mark.ironhorn("another command line")

FLAGS = """
--bind --workers --threads --timeout --graceful-timeout --boot-timeout --header-timeout
--body-timeout --write-timeout --keep-alive --backlog --worker-connections --limit-request-line
--limit-request-fields --limit-request-field-size --limit-request-body --chdir --pythonpath
--env --pid --umask --name --access-logfile --access-logformat --error-logfile --log-level
--log-format --reload-surge --check-config --print-config --config --capture-output
"""


def test_help_names_every_flag(run) -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    missing = [flag for flag in FLAGS.split() if not re.search(rf"{flag}\b", done.stdout)]
    assert not missing


def test_help_names_the_exit_codes_and_the_precedence(run) -> None:
    text = run("--help").stdout
    assert "Exit codes" in text
    assert "IRONHORN_CMD_ARGS" in text


def test_version(run) -> None:
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"ironhorn \d+\.\d+\.\d+\S*\n", done.stdout)


def test_python_m(run, stage: Stage) -> None:
    import sys

    done = run("--version", command=[sys.executable, "-m", "ironhorn"])
    assert done.stdout == run_once(stage, "--version").stdout


@pytest.mark.parametrize(
    ("args", "patterns"),
    [
        (["--wokers=2", "toolbox:app"], [r"--wokers", r"did you mean .*--workers"]),
        (["--workers=many", "toolbox:app"], [r"--workers", r"many"]),
        (["--workers=0", "toolbox:app"], [r"--workers", r"\b0\b"]),
        (["--workers=-1", "toolbox:app"], [r"--workers"]),
        (["--workers=1.5", "toolbox:app"], [r"--workers", r"1\.5"]),
        (["--workers", "toolbox:app"], [r"--workers"]),
        (["--threads=300", "toolbox:app"], [r"--threads"]),
        (["--timeout=soon", "toolbox:app"], [r"--timeout", r"soon"]),
        (["--log-level=loud", "toolbox:app"], [r"--log-level", r"loud", r"debug", r"info"]),
        (["--log-format=xml", "toolbox:app"], [r"--log-format", r"text", r"json"]),
        (["--access-logformat=%(zz)s", "toolbox:app"], [r"access.logformat", r"zz"]),
        (["--bind=nonsense:port", "toolbox:app"], [r"--bind", r"nonsense:port"]),
        (["--bind=127.0.0.1:99999", "toolbox:app"], [r"--bind", r"99999"]),
        (["--bind=unix:", "toolbox:app"], [r"--bind"]),
        (["--bind=unix:" + "x" * 200, "toolbox:app"], [r"--bind", r"xxx"]),
        (["--limit-request-fields=100000", "toolbox:app"], [r"--limit-request-fields", r"100000"]),
        (["--env=NOVALUE", "toolbox:app"], [r"--env", r"NOVALUE"]),
        (["--umask=999", "toolbox:app"], [r"--umask", r"999"]),
        (["toolbox:app", "another:app"], [r"another:app"]),
        (["--config=missing.yaml", "toolbox:app"], [r"missing\.yaml"]),
        ([], [r"app"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("-") else None,
)
def test_refused_on_the_command_line(refuses, args: list[str], patterns: list[str]) -> None:
    refuses(2, *patterns, args=args)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("workers: 2\nwokers: 3\n", [r"ironhorn\.yaml:2", r"wokers", r"did you mean .*workers"]),
        ("frobnicate: 3\n", [r"ironhorn\.yaml:1", r"frobnicate"]),
        ("\n\nworkers: many\n", [r"ironhorn\.yaml:3", r"workers", r"many"]),
        ("workers: [1, 2]\n", [r"ironhorn\.yaml:1", r"workers"]),
        ("workers: true\n", [r"ironhorn\.yaml:1", r"workers"]),
        ("workers:\n", [r"ironhorn\.yaml:1", r"workers"]),
        ("timeout: -1\n", [r"ironhorn\.yaml:1", r"timeout", r"-1"]),
        ("threads: 300\n", [r"ironhorn\.yaml:1", r"threads"]),
        ("bind: {a: b}\n", [r"ironhorn\.yaml:1", r"bind"]),
        ("workers: 1\nworkers: 2\n", [r"ironhorn\.yaml:2", r"workers", r"twice|duplicate"]),
        ("workers: [1\n", [r"ironhorn\.yaml"]),
        ("- workers\n", [r"ironhorn\.yaml"]),
        ("workers: 2\n---\nworkers: 3\n", [r"ironhorn\.yaml"]),
        ("a: &a [*a]\n", [r"ironhorn\.yaml"]),
        ("capture_output: 1\n", [r"ironhorn\.yaml:1", r"capture_output"]),
        ("env: {A: [1]}\n", [r"ironhorn\.yaml:1", r"env"]),
        ("config: other.yaml\n", [r"ironhorn\.yaml:1", r"config"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refused_in_the_file(refuses, stage: Stage, text: str, patterns: list[str]) -> None:
    (stage.directory / "ironhorn.yaml").write_text(text)
    refuses(2, *patterns, args=["toolbox:app"])


@pytest.mark.parametrize(
    ("env", "patterns"),
    [
        ({"IRONHORN_WORKERS": "many"}, [r"IRONHORN_WORKERS", r"many"]),
        ({"IRONHORN_WOKERS": "2"}, [r"IRONHORN_WOKERS", r"did you mean .*IRONHORN_WORKERS"]),
        ({"WEB_CONCURRENCY": "lots"}, [r"WEB_CONCURRENCY", r"lots"]),
        ({"PORT": "http"}, [r"PORT", r"http"]),
        ({"IRONHORN_CMD_ARGS": "--wokers 2"}, [r"IRONHORN_CMD_ARGS", r"--wokers"]),
        ({"IRONHORN_CMD_ARGS": "--name 'open"}, [r"IRONHORN_CMD_ARGS"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_refused_in_the_environment(refuses, env: dict[str, str], patterns: list[str]) -> None:
    refuses(2, *patterns, args=["toolbox:app"], env=env)


def test_every_error_is_told_at_once(refuses, stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text("workers: many\ntimeout: soon\n")
    refuses(2, r"workers", r"timeout", r"--bind", args=["--bind=x:y:z", "toolbox:app"])


def test_an_error_that_a_higher_source_would_hide_is_told_too(refuses, stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text("workers: many\n")
    refuses(2, r"ironhorn\.yaml:1", args=["--workers=2", "toolbox:app"])
