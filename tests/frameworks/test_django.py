"""The Django site: its admin as a person uses it, over several workers."""

from __future__ import annotations

import pytest
from frameworks.browser import Browser, Page
from frameworks.example import Site
from frameworks.ways import Way, every_way

pytestmark = pytest.mark.frameworks


def log_in(browser: Browser, password: str = Site.PASSWORD) -> Page:
    """Goes to the admin, is sent to the login page, and fills it in."""
    login = browser.get("/admin/")
    assert "/admin/login/" in login.url
    return browser.submit(login, username=Site.USER, password=password)


def write_note(browser: Browser, title: str) -> Page:
    """Saves a note through the admin's form."""
    form = browser.get("/admin/notes/note/add/")
    assert form.status == 200
    return browser.submit(form, title=title, text="said Ada", _save="Save")


@every_way
def test_admin(example: Way, site: Site) -> None:
    server = example.serve("django_site", site.env(), site.static, workers=2)
    browser = server.browser()

    page = log_in(browser)
    assert (page.status, page.url) == (200, "/admin/")
    for _ in range(10):
        page = browser.get("/admin/notes/note/")
        assert (page.status, page.url) == (200, "/admin/notes/note/"), (
            "whichever worker answers keeps the session"
        )

    saved = write_note(browser, "Grüße & more")
    assert saved.url == "/admin/notes/note/"
    assert "was added successfully" in saved.text
    assert "<li>Grüße &amp; more</li>" in server.browser().get("/").text

    assert "Logged out" in browser.submit(browser.get("/admin/"), "/admin/logout/").text
    assert "/admin/login/" in browser.get("/admin/").url


def test_a_wrong_password_and_a_missing_token_are_refused(example: Way, site: Site) -> None:
    server = example.serve("django_site", site.env())
    browser = server.browser()
    page = log_in(browser, "a guess")
    assert page.status == 200
    assert "Please enter the correct username and password" in page.text
    forged = server.browser().post(
        "/admin/login/", b"username=ada", Content_Type="application/x-www-form-urlencoded"
    )
    assert forged.status == 403


def test_a_host_that_is_not_allowed_is_refused(example: Way, site: Site) -> None:
    server = example.serve("django_site", site.env())
    assert server.browser(Host="elsewhere.example").get("/").status == 400


def test_the_proxy_says_https(example: Way, site: Site) -> None:
    """DJANGO_BEHIND_TLS: Django sees the field that nginx sets, and makes cookies for https."""
    server = example.serve("django_site", {**site.env(), "DJANGO_BEHIND_TLS": "1"})
    page = server.browser(X_Forwarded_Proto="https").get("/admin/login/")
    assert "Secure" in page.headers["Set-Cookie"]


@pytest.mark.parametrize("debug", [True, False])
def test_static_files_come_from_django_only_when_debugging(
    example: Way, site: Site, debug: bool
) -> None:
    server = example.serve("django_site", {**site.env(), "DJANGO_DEBUG": "1" if debug else "0"})
    assert server.browser().get("/static/admin/css/base.css").status == (200 if debug else 404)


def test_prepare_may_be_repeated(site: Site) -> None:
    before = sorted(site.static.rglob("*"))
    site.prepare()
    assert sorted(site.static.rglob("*")) == before
