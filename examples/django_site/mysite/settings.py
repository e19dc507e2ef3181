"""Settings of the site. What differs from machine to machine comes from the environment.

DJANGO_SECRET_KEY        the key that signs sessions; without it the one that `prepare` made
DJANGO_DATABASE          path of the SQLite database
DJANGO_STATIC_ROOT       where collectstatic puts the files that nginx serves
DJANGO_ALLOWED_HOSTS     host names, with commas
DJANGO_TRUSTED_ORIGINS   origins whose forms are accepted, with commas, such as https://example.org
DJANGO_BEHIND_TLS=1      believe the proxy's X-Forwarded-Proto, and send cookies over https only
DJANGO_DEBUG=1           error pages and static files from Django itself; not for production
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = BASE_DIR / "var"


def words(name, default=""):
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def secret_key():
    if key := os.environ.get("DJANGO_SECRET_KEY"):
        return key
    try:
        return (VAR / "secret-key").read_text().strip()
    except FileNotFoundError:
        raise ImproperlyConfigured("set DJANGO_SECRET_KEY, or run ./prepare") from None


SECRET_KEY = secret_key()
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = words("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = words("DJANGO_TRUSTED_ORIGINS")

if os.environ.get("DJANGO_BEHIND_TLS") == "1":
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "notes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", VAR / "db.sqlite3"),
        # Several workers write to one file: a writer waits for its turn instead of failing.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL",
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("DJANGO_STATIC_ROOT", VAR / "static")

USE_TZ = True
TIME_ZONE = "UTC"
