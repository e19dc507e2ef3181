"""Values of a ``gunicorn.conf.py`` as the texts that Ironhorn's settings are made of.

A converter takes what Gunicorn takes for its setting and raises ``ValueError``, which says what is
expected, for anything else. Whether a number is within bounds is for the settings to say.
"""

from __future__ import annotations

import glob
import os
import re
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


def peer_list(value: Any) -> Texts:
    """Addresses and networks, in one text separated by commas. Unix peers are in it anyway, to
    Gunicorn also if it is empty.
    """
    if value is None:
        return Texts(None)
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of addresses")
    return Texts([text for item in items for text in line(str(item)).texts or []] or ["unix"])


def forwarder_headers(value: Any) -> Texts:
    """Names, in one text separated by commas. PATH_INFO has no effect there either."""
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of names")
    names = [text for item in items for text in line(item).texts or []]
    kept = [name for name in names if name.upper() not in ("PATH_INFO", "*")]
    every = "name the fields: there is no * here" if "*" in names else None
    return Texts(kept, every)


#: What each field is to Gunicorn where it means https, and here too.
SCHEME_FIELDS = {
    "X-FORWARDED-PROTO": ("https",),
    "X-FORWARDED-PROTOCOL": ("ssl", "https"),
    "X-FORWARDED-SSL": ("on",),
}


def scheme_headers(value: Any) -> Texts:
    """Names and values that mean https: they are known here, so others are what is told."""
    if not isinstance(value, dict):
        raise ValueError("a dict of names and values")
    others = [
        f"{name}: {word}"
        for name, word in value.items()
        if str(word).lower() not in SCHEME_FIELDS.get(str(name).upper(), ())
    ]
    if not others:
        return Texts(None)
    known = "X-Forwarded-Proto, -Protocol, -Ssl and Forwarded are heeded"
    return Texts(None, f"{', '.join(others)} is not heeded; {known}")


def proxy_protocol(value: Any) -> Texts:
    """off, v1, v2 or auto; True is auto."""
    if value is None or isinstance(value, bool):
        return Texts(["auto" if value else "off"])
    text = line(value)
    modes = {"true": ["auto"], "false": ["off"]}
    return Texts(modes.get((text.texts or ["off"])[0].lower(), text.texts))


def variables(value: Any) -> Texts:
    """Texts NAME=VALUE."""
    items = value.split(",") if isinstance(value, str) else _list(value, "a list of NAME=VALUE")
    return Texts([text for item in items for text in line(item).texts or []])


def suites(value: Any) -> Texts:
    """Cipher suites as in OpenSSL's lists."""
    texts = line(value).texts
    return Texts(None if texts is None else re.split("[:, ]+", texts[0]))


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
