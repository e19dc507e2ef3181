"""What a person with a browser does: follows redirects, keeps cookies, fills in forms."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit

from harness.process import DEADLINE, scaled
from harness.wire import Address


@dataclass(frozen=True)
class Page:
    """One answer."""

    url: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def connect(address: Address, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A connection of http.client's: to a port, with a context over TLS, or to a unix socket."""
    if isinstance(address, tuple):
        if context is not None:
            return http.client.HTTPSConnection(*address, timeout=scaled(DEADLINE), context=context)
        return http.client.HTTPConnection(*address, timeout=scaled(DEADLINE))
    connection = http.client.HTTPConnection("localhost", timeout=scaled(DEADLINE))
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(scaled(DEADLINE))
    connection.sock.connect(address)
    return connection


class Browser:
    """One person with their cookies.

    Each request takes a new connection, so that any worker may get it.
    """

    def __init__(
        self, address: Address, context: ssl.SSLContext | None = None, **headers: str
    ) -> None:
        self._address = address
        self._context = context
        self._headers = {
            "Host": "localhost",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.cookies: dict[str, str] = {}

    def get(self, url: str, **headers: str) -> Page:
        """Opens a page, and the ones that it redirects to."""
        return self._follow(self._send("GET", url, None, headers))

    def post(self, url: str, body: bytes, **headers: str) -> Page:
        """Sends a body, and opens the page that the answer redirects to."""
        return self._follow(self._send("POST", url, body, headers))

    def submit(self, page: Page, action: str = "", **values: str) -> Page:
        """Fills in the page's form and sends it; hidden fields go along as they are."""
        body = urlencode({**hidden_fields(page), **values}).encode()
        scheme = "http" if self._context is None else "https"
        return self.post(
            action or page.url,
            body,
            Content_Type="application/x-www-form-urlencoded",
            Origin=f"{scheme}://{self._headers['Host']}",
        )

    def _send(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Page:
        fields = dict(self._headers)
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = connect(self._address, self._context)
        try:
            connection.request(method, url, body, fields)
            response = connection.getresponse()
            page = Page(url, response.status, response.headers, response.read())
        finally:
            connection.close()
        self._keep_cookies(page)
        return page

    def _keep_cookies(self, page: Page) -> None:
        for line in page.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if morsel.value and morsel["max-age"] != "0":
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)

    def _follow(self, page: Page) -> Page:
        for _ in range(5):
            if page.status not in (301, 302, 303):
                return page
            target = urlsplit(urljoin(page.url, page.headers["Location"]))
            page = self._send(
                "GET", target.path + (f"?{target.query}" if target.query else ""), None, {}
            )
        raise AssertionError(f"too many redirects, the last one to {page.url}")


def hidden_fields(page: Page) -> dict[str, str]:
    """Names and values of the hidden inputs in a page; the CSRF token is one of them."""
    found: dict[str, str] = {}

    class Inputs(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "input" and given.get("type") == "hidden" and given.get("name"):
                found[str(given["name"])] = given.get("value") or ""

    Inputs().feed(page.text)
    return found
