"""A directory of static files, and how a server is started over it."""

from __future__ import annotations

import os
from pathlib import Path

from harness import Server, Stage

# Long enough ago for a strong entity tag.
WRITTEN = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
CSS = b"body { color: black }\n" * 20
BIG = bytes(range(256)) * (64 << 10)


def write(path: Path, content: bytes, modified: int = WRITTEN) -> None:
    """A file that was last changed then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))


def fill(root: Path) -> None:
    """The files of the tests."""
    write(root / "site.css", CSS)
    for suffix in (".br", ".gz", ".zst"):
        write(root / f"site.css{suffix}", f"compressed{suffix}".encode())
    write(root / "only-gzip.js", b"plain")
    write(root / "only-gzip.js.gz", b"zipped")
    write(root / "base.5af3f1a8c2d1.css", b"hashed")
    write(root / "photo.png", b"\x89PNG")
    write(root / "photo.png.gz", b"never sent")
    write(root / "a b é.txt", b"spaces")
    write(root / "empty.txt", b"")
    write(root / "big.bin", BIG)
    write(root / "docs" / "index.html", b"<p>docs")
    write(root / "docs" / "page.html", b"<p>page")
    write(root / "bare" / "file", b"no type")
    write(root / ".env", b"SECRET")
    write(root / ".git" / "config", b"SECRET")
    write(root.parent / "secret.txt", b"SECRET")
    write(root.parent / f"{root.name}-other" / "secret.txt", b"SECRET")


def serve(stage: Stage, **settings: object) -> Server:
    """A server with these files at /static."""
    fill(stage.directory / "assets")
    return stage.serve(static=["/static=assets"], **settings)
