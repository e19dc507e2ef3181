"""The settings for static files."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness import Stage, request, run_once
from static import site
from static.site import CSS

pytestmark = pytest.mark.ironhorn("no static files")


def test_cache_control(stage: Stage) -> None:
    server = site.serve(stage)
    immutable = "public, max-age=31536000, immutable"
    response = server.get("/static/base.5af3f1a8c2d1.css")
    assert (response.status, response.get("Cache-Control")) == (200, immutable)
    again = server.get("/static/base.5af3f1a8c2d1.css", f"If-None-Match: {response.get('ETag')}")
    assert (again.status, again.get("Cache-Control")) == (304, immutable)
    assert server.get("/static/base.000000000000.css").get("Cache-Control") is None


def test_cache_rules_are_tried_in_order(stage: Stage) -> None:
    config = """
app: toolbox:app
static: {/static: assets}
static_cache:
  /static/docs/*: no-cache
  "*.css": max-age=60
  "*.?s": max-age=70
"""
    site.fill(stage.directory / "assets")
    server = stage.serve(None, config=config)
    for name, value in [
        ("docs/page.html", "no-cache"),
        ("docs/", "no-cache"),
        ("site.css", "max-age=60"),
        ("only-gzip.js", "max-age=70"),
        ("photo.png", None),
    ]:
        assert server.get(f"/static/{name}").get("Cache-Control") == value, name


def test_maps_in_yaml_and_in_the_environment(stage: Stage) -> None:
    root = stage.directory / "assets"
    site.fill(root)
    config = f"""
app: toolbox:app
static:
  /static/: {root}
  /static/docs/deep: assets/bare
  /favicon.ico: assets/photo.png
  /.well-known: assets/docs
static_index: [page.html, index.html]
"""
    server = stage.serve(None, config=config)
    assert server.get("/static/site.css").body == CSS
    assert server.get("/static/docs/deep/file").body == b"no type"
    assert server.get("/static/docs/").body == b"<p>page"
    assert server.get("/favicon.ico").body == b"\x89PNG"
    for below in ("/favicon.ico/", "/favicon.ico/x"):
        assert server.get(below).status == 404
    assert server.get("/.well-known/page.html").body == b"<p>page"
    server.stop()
    other = stage.serve(None, config=config, env={"IRONHORN_STATIC": "/x=assets '/y z=assets'"})
    assert other.get("/x/site.css").body == CSS
    assert other.get("/y%20z/site.css").body == CSS
    assert other.get("/static/site.css").body != CSS


@pytest.mark.parametrize(
    ("policy", "inside", "outside"),
    [("never", 404, 404), ("inside", 200, 404), ("follow", 200, 200)],
)
def test_symlink_policies(stage: Stage, policy: str, inside: int, outside: int) -> None:
    root = stage.directory / "assets"
    server = site.serve(stage, static_symlinks=policy)
    (root / "near").symlink_to("site.css")
    (root / "near-directory").symlink_to("docs")
    (root / "out").symlink_to("../secret.txt")
    (root / "absolute").symlink_to(stage.directory / "secret.txt")
    for name in ("near", "near-directory/page.html"):
        assert server.get(f"/static/{name}").status == inside, name
    for name in ("out", "absolute"):
        assert server.get(f"/static/{name}").status == outside, name
    assert server.get("/static/../secret.txt").status == 404


def test_fallthrough(stage: Stage) -> None:
    site.fill(stage.directory / "assets")
    server = stage.serve(static=["/=assets"], static_fallthrough=True)
    assert server.get("/site.css").body == CSS
    for target in ("/hello", "/hello?x"):
        assert server.get(target).body == b"hello\n"
    # What can't be a file is the app's to answer, too.
    for target in ("/.env", "/../secret.txt", "/docs/.env", "/bare/"):
        response = server.get(target)
        assert b"SECRET" not in response.body
        assert response.body != b"Not Found\n"
    with server.connect() as wire:
        posted = wire.send(request("POST", "/echo", body=b"posted")).read_response()
        assert posted.body == b"posted"
    assert server.get("/docs").status == 301


def test_a_directory_that_is_missing(stage: Stage) -> None:
    (stage.directory / "ironhorn.yaml").write_text(
        "app: toolbox:app\nstatic:\n  /static: no/such\n"
    )
    for arguments in (["--check-config"], ["--bind=127.0.0.1:0"]):
        done = run_once(stage, *arguments)
        assert done.returncode == 2, done.stderr
        assert "ironhorn.yaml:2: static: cannot serve /static from no/such: " in done.stderr
    (stage.directory / "no" / "such").mkdir(parents=True)
    assert run_once(stage, "--check-config").returncode == 0
    os.mkfifo(stage.directory / "fifo")
    done = run_once(stage, "--check-config", "--static=/a=fifo")
    assert done.returncode == 2
    assert "command line: static: cannot serve /a from fifo: neither a directory" in done.stderr


def test_a_reload_to_a_directory_that_is_missing_is_refused(stage: Stage) -> None:
    site.fill(stage.directory / "assets")
    config = "app: toolbox:app\nstatic: {/static: assets}\n"
    server = stage.serve(None, config=config)
    (stage.directory / "ironhorn.yaml").write_text(config.replace("assets", "gone"))
    server.allow_log("reload failed")
    mark = server.log.mark()
    server.send(signal.SIGHUP)
    line = server.log.wait_for_line("reload failed", since=mark)
    assert "cannot serve /static from gone" in line
    assert server.get("/static/site.css").body == CSS


def test_a_reload_picks_up_a_switched_link(stage: Stage) -> None:
    def release(name: str) -> Path:
        site.write(stage.directory / name / "assets" / "version.txt", name.encode())
        (stage.directory / "next").symlink_to(name)
        (stage.directory / "next").rename(stage.directory / "current")
        return stage.directory / name

    release("one")
    server = stage.serve(static=["/static=current/assets"], workers=2)
    assert server.get("/static/version.txt").body == b"one"
    release("two")
    # Not before the code is the new one's, too.
    assert server.get("/static/version.txt").body == b"one"
    server.reload()
    assert {server.get("/static/version.txt").body for _ in range(8)} == {b"two"}


@pytest.mark.parametrize("preload", [False, True])
def test_relative_directories_start_in_chdir(stage: Stage, preload: bool) -> None:
    site.fill(stage.directory / "site" / "assets")
    server = stage.serve(static=["/static=assets"], chdir="site", preload=preload)
    assert server.get("/static/site.css").body == CSS
