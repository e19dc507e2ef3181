"""The forms in which the app is named, and what surrounds it: directory, path, environment."""

from __future__ import annotations

import json

import pytest
from harness import Server, Stage, run_once

pytestmark = pytest.mark.ironhorn("another command line")


def environment(server: Server) -> dict[str, object]:
    return json.loads(server.get("/environment").body)


FORMS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"plain"]


application = app


class Site:
    def __init__(self, text="default", times=1):
        self.text = text * times

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [self.text.encode()]


class Holder:
    site = Site("attribute")


def factory(text="made", times=1):
    return Site(text, times)
"""


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("forms", b"plain"),
        ("forms:app", b"plain"),
        ("forms:Holder.site", b"attribute"),
        ("forms:factory()", b"made"),
        ('forms:factory("literal", times=2)', b"literalliteral"),
        ("forms:factory(text='a', times=3)", b"aaa"),
        ("forms:Site('class')", b"class"),
        ("package.inner:app", b"inner"),
    ],
)
def test_forms_of_the_app(stage: Stage, app: str, body: bytes) -> None:
    (stage.directory / "forms.py").write_text(FORMS)
    (stage.directory / "package").mkdir()
    (stage.directory / "package" / "inner.py").write_text(FORMS.replace("plain", "inner"))
    assert stage.serve(app).get("/").body == body


@pytest.mark.parametrize(
    "app", ["forms:factory(undefined)", "forms:factory(1 + 1)", "forms:__import__('os')", "forms:"]
)
def test_forms_that_are_refused(stage: Stage, app: str) -> None:
    """Only literals: an app's name is no place for code."""
    (stage.directory / "forms.py").write_text(FORMS)
    done = run_once(stage, "--bind=127.0.0.1:0", app)
    assert done.returncode in (2, 4), done.stderr


def test_chdir(stage: Stage) -> None:
    site = stage.directory / "site"
    site.mkdir()
    (site / "local.py").write_text("from toolbox import app\n")
    seen = environment(stage.serve("local:app", chdir="site"))
    assert seen["cwd"] == str(site)
    assert seen["path"][0] in (str(site), "")


def test_pythonpath(stage: Stage) -> None:
    for name in ("one", "two"):
        (stage.directory / name).mkdir()
        (stage.directory / name / f"in_{name}.py").write_text("from toolbox import app\n")
    server = stage.serve("in_two:app", pythonpath="one,two")
    assert server.get("/hello").status == 200


def test_env(stage: Stage) -> None:
    seen = environment(stage.serve("toolbox:app", "-e", "A=1", "-e", "B=two=2", "--env=C="))
    assert (seen["env"]["A"], seen["env"]["B"], seen["env"]["C"]) == ("1", "two=2", "")


def test_the_start_directory_is_on_the_path(stage: Stage) -> None:
    seen = environment(stage.serve())
    assert seen["cwd"] == str(stage.directory)
    assert seen["path"][0] in (str(stage.directory), "")
