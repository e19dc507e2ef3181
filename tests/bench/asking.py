"""What is asked in a scenario, and what the right answer is."""

from __future__ import annotations

from dataclasses import dataclass

from harness import request


@dataclass(frozen=True)
class Asking:
    """One request."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def raw(self, query: str = "", *fields: str) -> bytes:
        """Its bytes; with a query for the checks, which the load doesn't have."""
        target = f"{self.path}?{query}" if query else self.path
        lines = [f"{name}: {value}" for name, value in self.headers]
        return request(self.method, target, *lines, *fields, body=self.body or None)

    @property
    def closes(self) -> bool:
        """Whether the connection is to end with it."""
        return ("Connection", "close") in self.headers

    def told(self) -> dict[str, object]:
        """For launch/bare.py."""
        return {
            "method": self.method,
            "path": self.path,
            "query": "",
            "headers": {"Host": "127.0.0.1:8000", **dict(self.headers)},
            "body": self.body.decode("latin-1"),
        }


@dataclass(frozen=True)
class Right:
    """The answer that is right."""

    body: bytes
    head: tuple[tuple[str, str], ...] = ()
    """The fields that the app sets, beside the length."""
    length: bool = True
    """Whether its length is known beforehand, and so has to be said."""
    status: int = 200


BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://shop.example/catalogue/anvils?sort=price"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Cache-Control", "max-age=0"),
    ("Priority", "u=0, i"),
    ("Cookie", "sessionid=4f0c8a1b7e2d4c9fa3e5d6b7c8f90a1b; csrftoken=kJ2mQ0; theme=dark"),
)
"""Twelve fields as a browser sends them, with a cookie; Host comes to them."""
