"""Nothing outside of the directory is served, nor what begins with a dot."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Server, request

pytestmark = pytest.mark.ironhorn("no static files")

ATTEMPTS = [
    "/static/../secret.txt",
    "/static/../../secret.txt",
    "/static/docs/../../secret.txt",
    "/static/./../secret.txt",
    "/static/..",
    "/static/../",
    "/static/.",
    "/static/./site.css",
    "/static/docs/../site.css",
    "/static/%2e%2e/secret.txt",
    "/static/%2E%2E/secret.txt",
    "/static/.%2e/secret.txt",
    "/static/%2e./secret.txt",
    "/static/..%2fsecret.txt",
    "/static/..%2Fsecret.txt",
    "/static/%2e%2e%2fsecret.txt",
    "/static/docs%2f..%2f..%2fsecret.txt",
    "/static/docs%2fpage.html",
    "/static/%2fetc/passwd",
    "/static/%2Fetc%2Fpasswd",
    "/static//etc/passwd",
    "/static///etc/passwd",
    "/static//site.css",
    "/static/docs//page.html",
    "/static/..\\secret.txt",
    "/static/..%5csecret.txt",
    "/static/%5c..%5csecret.txt",
    "/static/..;/secret.txt",
    "/static/..%00/secret.txt",
    "/static/site.css%00",
    "/static/site.css%00.png",
    "/static/%00",
    "/static/.env",
    "/static/%2eenv",
    "/static/.git/config",
    "/static/docs/.htaccess",
    "/static/%252e%252e/secret.txt",
    "/static/%252e%252e%252fsecret.txt",
    "/static/%c0%ae%c0%ae/secret.txt",
    "/static/%u002e%u002e/secret.txt",
    "/static/....//secret.txt",
    "/static/.../secret.txt",
    "/static-other/secret.txt",
    "/static../secret.txt",
    "/static%2f../secret.txt",
    "/static/" + "a" * 300,
    "/static/" + "a/" * 2000,
]


@pytest.mark.parametrize("target", ATTEMPTS, ids=range(len(ATTEMPTS)))
def test_no_escape(server: Server, target: str) -> None:
    with server.connect() as wire:
        for method in ("GET", "HEAD"):
            response = wire.send(request(method, target)).read_response(method)
            assert response.status == 404, target
            assert b"SECRET" not in response.body


def test_links_out_are_not_followed(server: Server, root: Path) -> None:
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "absolute.txt").symlink_to(root / "site.css")
    (root / "up").symlink_to("..")
    (root / "proc").symlink_to("/proc/self/cwd")
    for name in ("out.txt", "absolute.txt", "up/secret.txt", "proc/assets/site.css", "up/"):
        assert server.get(f"/static/{name}").status == 404, name


def test_links_inside_are_followed(server: Server, root: Path) -> None:
    (root / "near.html").symlink_to("docs/page.html")
    (root / "docs" / "far.html").symlink_to("../docs/page.html")
    (root / "latest").symlink_to("docs")
    for name in ("near.html", "docs/far.html", "latest/page.html"):
        assert server.get(f"/static/{name}").body == b"<p>page", name
