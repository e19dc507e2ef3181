"""A Django site of one JSON route, with the middleware that a new project has and no database."""

from __future__ import annotations

from django.conf import settings
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="no secret",
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)


ended: list[None] = []


def end(**_: object) -> None:
    ended.append(None)
    request_finished.disconnect(end)


def item(request: HttpRequest, number: int) -> JsonResponse:
    if request.META.get("QUERY_STRING") == "ended":
        request_finished.connect(end)
        return JsonResponse(len(ended), safe=False)
    return JsonResponse({"id": number, "name": "anvil", "price": 12.5, "tags": ["iron", "heavy"]})


urlpatterns = [path("items/<int:number>", item)]
app = get_wsgi_application()
