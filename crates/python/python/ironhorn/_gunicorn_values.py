"""Values of a ``gunicorn.conf.py`` as the texts that Ironhorn's settings are made of.

A converter takes what Gunicorn takes for its setting and raises ``ValueError``, which says what is
expected, for anything else. Whether a number is within bounds is for the settings to say.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Texts:
    """What a value is written as elsewhere; None to leave the setting alone."""

    texts: list[str] | None
    warning: str | None = None


def number(value: Any) -> Texts:
    """A whole number, also as a text, in which Gunicorn takes 0x10 too."""
    return Texts([str(_whole(value))])


def _whole(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            raise ValueError("a number") from None
    if not isinstance(value, int):
        raise ValueError("a number")
    return int(value)


def limit(highest: int) -> Callable[[Any], Texts]:
    """A limit, of which 0 means none to Gunicorn."""

    def convert(value: Any) -> Texts:
        if _whole(value) == 0:
            return Texts([str(highest)], f"0 is no limit to Gunicorn; here it is {highest}")
        return number(value)

    return convert


def seconds(value: Any) -> Texts:
    """Seconds; fractions are allowed here."""
    return Texts([str(value)]) if isinstance(value, float) else number(value)


def octal(value: Any) -> Texts:
    """Permission bits; a text in Gunicorn's way, where 022 is octal."""
    if isinstance(value, str):
        digits = value.lower().removeprefix("0o")
        try:
            value = int(digits, 8) if value.startswith("0") else int(value, 0)
        except ValueError:
            raise ValueError("an octal number such as 0o027") from None
    return Texts([f"0o{_whole(value):o}"])


def flag(value: Any) -> Texts:
    """True or False, also as a text."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return Texts([value.strip().lower()])
    if isinstance(value, bool) or value in (0, 1):
        return Texts(["true" if value else "false"])
    raise ValueError("True or False")


def line(value: Any) -> Texts:
    """A text."""
    if not isinstance(value, str):
        raise ValueError("a text")
    return Texts([value.strip()]) if value.strip() else Texts(None)


def word(value: Any) -> Texts:
    """A text of a few that are allowed."""
    return line(value)


def path(value: Any) -> Texts:
    """A path."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError("a path")
    return line(os.fspath(value))


def log_file(value: Any) -> Texts:
    """A path or - for the standard stream."""
    return path(value)


def path_list(value: Any) -> Texts:
    """Paths, in one text separated by commas."""
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of paths")
    return Texts([text for item in items for text in path(item).texts or []])


def patterns(value: Any) -> Texts:
    """Paths, of which some may be patterns."""
    texts = path_list(value).texts or []
    found = [glob.glob(text, recursive=True) if glob.has_magic(text) else [text] for text in texts]
    return Texts([path for paths in found for path in paths])


def address_list(value: Any) -> Texts:
    """Addresses, in one text separated by commas. A NUL begins an abstract one."""
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of addresses")
    texts = [text for item in items for text in line(item).texts or []]
    return Texts([text.replace("unix:\0", "unix:@") for text in texts])


def variables(value: Any) -> Texts:
    """Texts NAME=VALUE."""
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of NAME=VALUE")
    return Texts([text for item in items for text in line(item).texts or []])


def _list(value: Any, expected: str) -> list[Any]:
    if not isinstance(value, list | tuple | set):
        raise ValueError(expected)
    return list(value)


def user_name(value: Any) -> Texts:
    """A name or a number."""
    return Texts([str(value)]) if isinstance(value, int) else line(value)


def header_map(value: Any) -> Texts:
    """drop, refuse or dangerous."""
    text = line(value)
    return Texts(["allow"]) if text.texts == ["dangerous"] else text


def access_format(value: Any) -> Texts:
    """A line with atoms."""
    return line(value)


def worker_class(value: Any) -> Texts:
    """The kind of the workers: there is one, so this says what is different."""
    name = value if isinstance(value, str) else getattr(value, "__qualname__", repr(value))
    if name in ("sync", "gthread"):
        # The setting threads says how many.
        return Texts(None)
    if name == "asgi" or "uvicorn" in name.lower():
        raise ValueError("a worker class for WSGI: Ironhorn doesn't serve ASGI")
    if name.startswith(("gevent", "eventlet", "tornado", "egg:gunicorn#gevent")):
        why = "nothing is patched; set more threads, or workers"
    else:
        why = "there is one kind of worker"
    return Texts(None, f"{name}: {why}")
